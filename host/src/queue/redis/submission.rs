//! A submission, from the photographs to the server's word that they are its own now.
//!
//! Owns the order in which photographs and task are sent, so that neither is copied there for nothing. Must never know what
//! becomes of the task.

use std::sync::Arc;
use std::time::Duration;

use super::answer::{digits, from_digits};
use super::scripts::millis;
use super::{Inner, Redis, blocking};
use crate::queue::{Submission, SubmitError, Unavailable, codec, seal};
use crate::task::TaskId;

impl Redis {
    /// Hands a task in, as [`crate::queue::Queue::submit`] says.
    pub(super) async fn accept(&self, submission: Submission) -> Result<TaskId, SubmitError> {
        let Submission { payload, idempotency_key, client, max_waiting, owner, callback, trace } = submission;
        self.inner.link.check()?;
        let id = TaskId::random();
        let keys = Arc::clone(&self.keys);
        let owned = owner.as_deref().map(|owner| hex::encode(keys.hash_owner(owner))).unwrap_or_default();
        let (stand, sealed, callback) = blocking(move || {
            let mut bytes = codec::encode(payload, seal::OVERHEAD);
            let stand = |text: String| keys.stand(&text, owner.as_deref(), &bytes, callback.as_deref());
            let stand = idempotency_key.map(stand).unwrap_or_default();
            keys.seal(id, &mut bytes);
            (stand, bytes, callback.map(|url| keys.seal_callback(id, url)).unwrap_or_default())
        })
        .await?;
        let mut stand = stand.iter().map(|it| (hex::encode(it.key), hex::encode(it.payload)));
        let (hash, digest) = stand.next().unwrap_or_default();
        let older: Vec<_> = stand.map(|(hash, digest)| format!("{hash} {digest}")).collect();
        let Inner { link, scripts, context, limits, .. } = self.inner.as_ref();
        // Who the client is, is not stored for nothing.
        let most = max_waiting.or(limits.max_waiting_per_client);
        let crowd = most.zip(client).map(|(most, text)| (self.keys.hash_client(&text), most));
        let (client, most) = crowd.map_or_else(Default::default, |(hash, most)| (hex::encode(hash), most));
        let trace = trace.write().unwrap_or_default();
        // A script would copy the photographs twice. So they go ahead by themselves, and the script accepts the task if
        // they have arrived; should nothing come of it, they expire.
        let mut store = redis::cmd("SET");
        store.arg(context.payload_key(id)).arg(sealed).arg("PX").arg(context.payload_expiry());
        let accept = async || {
            let call = scripts.submit.call(context).arg(digits(id)).arg(&hash).arg(&digest).arg(limits.max_length);
            let call = call.arg(&client).arg(most).arg(limits.max_age.map_or(0, millis)).arg(callback.as_slice());
            let call = call.arg(&trace).arg(&owned).arg(older.join(" "));
            call.commit().send::<Vec<redis::Value>>(link).await.map_err(Unavailable::from)
        };
        let (stored, answer) = tokio::join!(biased; link.query::<()>(&store), accept());
        stored.map_err(Unavailable::from)?;
        let mut answer = answer?;
        if answer.first() == Some(&redis::Value::BulkString(b"bare".to_vec())) {
            // The script was faster, on a new connection or while it was loaded.
            answer = accept().await?;
        }
        let strange = || Unavailable(format!("the server's answer to a submission makes no sense: {answer:?}"));
        let text = |at: usize| answer.get(at).and_then(|value| redis::from_redis_value::<String>(value.clone()).ok());
        match text(0).as_deref() {
            Some("new" | "known") => Ok(text(1).and_then(|text| from_digits(&text)).ok_or_else(strange)?),
            Some("conflict") => Err(SubmitError::Conflict),
            Some(refusal @ ("full" | "overloaded" | "crowded")) => {
                let retry_after = text(1).and_then(|text| text.parse().ok()).map(Duration::from_millis);
                let retry_after = retry_after.ok_or_else(strange)?;
                match refusal {
                    "full" => Err(SubmitError::Full { retry_after }),
                    "overloaded" => Err(SubmitError::Overloaded { retry_after }),
                    _ => Err(SubmitError::TooManyWaiting { retry_after }),
                }
            }
            _ => Err(strange().into()),
        }
    }
}
