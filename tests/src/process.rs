//! Processes that tests start: they end with the test program, and may have no more of something than is set.
//!
//! Owns the launcher, limits, and what a process prints. Must never know which program it is.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::thread;

/// Starts a process that the kernel kills when this program ends. The kernel goes by the thread that started it, so one
/// thread that lives as long as the program starts them all.
pub fn spawn(mut command: Command) -> Child {
    type Order = (Command, Sender<std::io::Result<Child>>);
    static LAUNCHER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let launcher = LAUNCHER.get_or_init(|| {
        let (orders, received) = channel::<Order>();
        thread::spawn(move || received.into_iter().for_each(|(mut command, reply)| _ = reply.send(command.spawn())));
        Mutex::new(orders)
    });
    // SAFETY: between fork and exec only one system call is made, and it allocates nothing.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let (reply, child) = channel();
    launcher.lock().expect("the launcher never breaks off").send((command, reply)).expect("the launcher lives");
    child.recv().expect("the launcher answers").expect("the host starts")
}

/// What a process may have no more of than is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// The size of each of its files, bytes.
    FileSize,
    /// Open files and sockets.
    Descriptors,
    /// Memory that it writes to and shares with nobody, bytes.
    Memory,
    /// The size of a core dump, bytes.
    CoreDump,
}

/// Limits a process; 0 is the calling one. Only the limit that can be lifted again is set.
pub(crate) fn limit(process: libc::pid_t, resource: Resource, most: u64) -> std::io::Result<()> {
    let resource = match resource {
        Resource::FileSize => libc::RLIMIT_FSIZE,
        Resource::Descriptors => libc::RLIMIT_NOFILE,
        Resource::Memory => libc::RLIMIT_DATA,
        Resource::CoreDump => libc::RLIMIT_CORE,
    };
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls only read or write a limit that outlives them.
    let done = unsafe {
        let known = libc::prlimit64(process, resource, std::ptr::null(), &raw mut limit);
        limit.rlim_cur = most.min(limit.rlim_max);
        known == 0 && libc::prlimit64(process, resource, &raw const limit, std::ptr::null_mut()) == 0
    };
    if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Reads lines on a thread of their own, so that the host is never blocked by a full pipe.
pub(crate) fn read_lines(stdout: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // Nobody listens after the first line of interest, but the pipe must be emptied all the same.
            let _ = sender.send(line);
        }
    });
    receiver
}

pub(crate) fn tail(log: &Path) -> String {
    use std::io::{Read, Seek, SeekFrom};
    const MOST: u64 = 6000;
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_else(|error| format!("(the log cannot be read: {error})"))
}
