//! An operator who is no node: without a key, and with settings of another machine.

use super::*;

/// What the server holds for the fingerprint of the key, as it answers.
fn fingerprint(house: &House) -> Vec<u8> {
    house.server.command("GET {test}:fingerprint")
}

#[tokio::test]
async fn a_visitor_makes_no_key_and_takes_nothing_over() {
    let house = House::new(&[]);
    let key_file = house.folder.path().join("elsewhere/payload.key");
    let visitor = || visit(Options { key_file: key_file.clone(), node: Some("a".to_owned()), ..house.options(WIDE) });
    // Before there is a queue, and beside one that is empty: a node of the real key must still be let in after it.
    let empty = visitor().await.unwrap();
    assert_eq!((counts_of(empty.as_ref()).await, empty.dead(9).await.unwrap().len()), ([0; 4], 0));
    assert_eq!(fingerprint(&house), b"$-1\r\n");
    let queue = Redis::open(Options { node: Some("a".to_owned()), ..house.options(WIDE) }).await.unwrap();
    let before = fingerprint(&house);
    submit(&queue, 1).await;
    let lease = claim(&queue).await.lease;
    let visiting = visitor().await.unwrap();
    assert_eq!(counts_of(visiting.as_ref()).await, [0, 1, 0, 0]);
    visiting.close().await;
    assert!(visiting.stats().await.is_err());
    queue.extend(lease).await.unwrap();
    assert!(fingerprint(&house) == before && !key_file.parent().unwrap().exists());
}

#[tokio::test]
async fn a_visitor_goes_by_the_limits_of_the_nodes() {
    let rig = Node::new(contract::Limits { result_ttl: LONG, payload_ttl: LONG, max_deliveries: 9, ..LIMITS }).await;
    let queue = rig.queue();
    let dead = submit(queue, 1).await;
    let lease = claim(queue).await.lease;
    queue.bury(lease, contract::error("beyond help")).await.unwrap();
    submit(queue, 2).await;
    claim(queue).await;
    // By the visitor's own limits the dead task would be forgotten, and the lease that runs out the last.
    let strict = contract::Limits { max_deliveries: 1, result_ttl: MOMENT, payload_ttl: MOMENT, ..LIMITS };
    let time = Time::Told(Arc::clone(&rig.clock));
    let visitor = admin::visit_with(Options { limits: strict, ..rig.options.clone() }, time).await.unwrap();
    rig.clock.fetch_add(LIMITS.lease.as_millis() as u64, Ordering::SeqCst);
    assert_eq!(counts_of(visitor.as_ref()).await, [1, 0, 1, 1]);
    visitor.redeliver(dead).await.unwrap();
    rig.pass(MOMENT * 2).await;
    assert_eq!(state(queue, dead).await, State::Pending);
    assert_eq!(counts(queue).await, [2, 0, 0, 0]);
}

async fn counts_of(admin: &dyn Admin) -> [u64; 4] {
    let Stats { waiting, running, ended, dead, .. } = admin.stats().await.unwrap();
    [waiting, running, ended, dead]
}
