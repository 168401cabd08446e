//! A session that several callers run at the same time.
//!
//! Owns the call of one run, and the names that go with it. Must never know who calls, or until when it may take.
//!
//! `ort` lends a session to one caller at a time, for some providers for GPUs break down otherwise. On processors ONNX Runtime promises
//! that a session may be run by any number of threads, and a second session would only hold the weights once more, in memory and in
//! the caches that all cores share. So the library's own function is called here.

use std::ffi::CString;
use std::ptr::{self, NonNull};

use ort::AsPointer;
use ort::session::{RunOptions, Session, SessionInputValue};
use ort::value::{DynValue, Outlet};

/// A session, and the names of what it takes and answers.
pub(super) struct Shared {
    session: Session,
    inputs: Vec<CString>,
    outputs: Vec<CString>,
}

impl Shared {
    pub(super) fn new(session: Session) -> ort::Result<Self> {
        let name = |outlet: &Outlet| CString::new(outlet.name()).map_err(ort::Error::wrap);
        let names = |outlets: &[Outlet]| outlets.iter().map(name).collect::<ort::Result<Vec<_>>>();
        let (inputs, outputs) = (names(session.inputs())?, names(session.outputs())?);
        Ok(Self { session, inputs, outputs })
    }

    pub(super) fn inputs(&self) -> &[Outlet] {
        self.session.inputs()
    }

    pub(super) fn outputs(&self) -> &[Outlet] {
        self.session.outputs()
    }

    /// Runs it once: takes a value for each input and answers one for each output, in the graph's order. Only sessions on processors may
    /// be run by several at once.
    ///
    /// # Errors
    ///
    /// What the library says, also when the run was told to stop.
    pub(super) fn run(&self, values: &[SessionInputValue<'_>], options: &RunOptions) -> ort::Result<Vec<DynValue>> {
        if values.len() != self.inputs.len() {
            return Err(ort::Error::new(format!("it takes {} inputs, not {}", self.inputs.len(), values.len())));
        }
        let given: Vec<_> = values.iter().map(|value| value.ptr()).collect();
        let [inputs, outputs] =
            [&self.inputs, &self.outputs].map(|names| names.iter().map(|name| name.as_ptr()).collect::<Vec<_>>());
        let mut answered = vec![ptr::null_mut(); outputs.len()];
        // SAFETY: names and values are as many as is said, and live until the call is back, as the session and the options do. The
        // library reads all of them and writes a value for each output; it may be called by several threads with one session.
        let status = unsafe {
            (ort::api().Run)(
                self.session.inner().ptr().cast_mut(),
                options.ptr(),
                inputs.as_ptr(),
                given.as_ptr(),
                given.len(),
                outputs.as_ptr(),
                outputs.len(),
                answered.as_mut_ptr(),
            )
        };
        // SAFETY: the status is the call's own, and nobody else's.
        unsafe { ort::Error::result_from_status(status) }?;
        let value = |answer| {
            let answer = NonNull::new(answer).ok_or_else(|| ort::Error::new("it left an output out"))?;
            // SAFETY: the library made the value in this run, with this session's allocator, and leaves it to the caller.
            Ok(unsafe { DynValue::from_ptr(answer, Some(self.session.allocator())) })
        };
        // All of them, before the first that is missing is an error: nothing may be left lying.
        let answered: Vec<_> = answered.into_iter().map(value).collect();
        answered.into_iter().collect()
    }
}
