//! Whose a task is, and what owners may know of each other: nothing.

use super::{LIMITS, Limits, Rig, claim, payload, submit, success};
use crate::queue::{Queue, Submission, SubmitError};
use crate::task::TaskId;

/// Submits for an owner, under an idempotency key.
async fn submit_for(queue: &dyn Queue, owner: &str, key: Option<&str>, seed: u8) -> Result<TaskId, SubmitError> {
    let (owner, idempotency_key) = (Some(owner.to_owned()), key.map(str::to_owned));
    queue.submit(Submission { owner, idempotency_key, ..Submission::new(payload(seed)) }).await
}

/// Whose of these it is.
async fn owners(queue: &dyn Queue, id: TaskId) -> [bool; 3] {
    let mut found = [false; 3];
    for (owner, found) in ["a", "b", ""].into_iter().zip(&mut found) {
        *found = queue.belongs_to(id, owner).await.unwrap();
    }
    found
}

pub(crate) async fn a_task_belongs_to_who_handed_it_in_and_to_nobody_else<R: Rig>() {
    let mut rig = R::new(LIMITS).await;
    let nobodys = submit(rig.queue(), 0).await;
    let one = submit_for(rig.queue(), "a", None, 1).await.unwrap();
    let other = submit_for(rig.queue(), "b", None, 2).await.unwrap();
    for after_a_crash in [false, true] {
        let queue = rig.queue();
        assert_eq!(owners(queue, nobodys).await, [false; 3], "{after_a_crash}");
        assert_eq!(owners(queue, one).await, [true, false, false], "{after_a_crash}");
        assert_eq!(owners(queue, other).await, [false, true, false], "{after_a_crash}");
        assert_eq!(owners(queue, TaskId::random()).await, [false; 3], "{after_a_crash}");
        if !after_a_crash {
            rig = rig.crash().await;
        }
    }
    // It stays whose it is until it is forgotten.
    let queue = rig.queue();
    for _ in 0..3 {
        let claim = claim(queue).await;
        queue.settle(claim.lease, success(1)).await.unwrap();
    }
    assert_eq!(owners(queue, one).await, [true, false, false]);
    rig.pass(LIMITS.result_ttl).await;
    assert_eq!(owners(queue, one).await, [false; 3]);
}

pub(crate) async fn one_idempotency_key_of_two_owners_is_two_keys<R: Rig>() {
    let mut rig = R::new(LIMITS).await;
    let one = submit_for(rig.queue(), "a", Some("key"), 1).await.unwrap();
    // Other content, and no conflict: who is told of one would learn that another used the key.
    let other = submit_for(rig.queue(), "b", Some("key"), 2).await.unwrap();
    let keyed = Submission { idempotency_key: Some("key".to_owned()), ..Submission::new(payload(3)) };
    let nobodys = rig.queue().submit(keyed).await.unwrap();
    assert!(one != other && one != nobodys && other != nobodys);
    for _ in 0..2 {
        let queue = rig.queue();
        assert_eq!(submit_for(queue, "a", Some("key"), 1).await.unwrap(), one);
        assert_eq!(submit_for(queue, "b", Some("key"), 2).await.unwrap(), other);
        assert!(matches!(submit_for(queue, "a", Some("key"), 2).await, Err(SubmitError::Conflict)));
        rig = rig.crash().await;
    }
}

pub(crate) async fn a_client_may_have_a_limit_of_its_own<R: Rig>() {
    let rig = R::new(Limits { max_waiting_per_client: Some(2), ..LIMITS }).await;
    let unlimited = R::new(LIMITS).await;
    let submit = async |rig: &R, client: &str, max_waiting| {
        let client = Some(client.to_owned());
        rig.queue().submit(Submission { client, max_waiting, ..Submission::new(payload(1)) }).await
    };
    for (rig, client, max_waiting, most) in
        [(&rig, "a", Some(1), 1), (&rig, "b", Some(4), 4), (&rig, "c", None, 2), (&unlimited, "a", Some(3), 3)]
    {
        for _ in 0..most {
            submit(rig, client, max_waiting).await.unwrap();
        }
        let refused = submit(rig, client, max_waiting).await;
        assert!(matches!(refused, Err(SubmitError::TooManyWaiting { .. })), "{client}: {refused:?}");
    }
}
