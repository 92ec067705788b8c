//! Network namespaces of a test: two machines with a cable between them, on this one.
//!
//! ```text
//! server  10.77.0.1, 10.77.0.9, fd77::1, fd77::9      cable       client  10.77.0.2, 10.77.0.3, fd77::2, fd77::3
//! ```

use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Two namespaces, which go away with this.
pub struct Machines {
    server: String,
    client: String,
}

impl Machines {
    /// The machines; `None`, with a line that says so, where namespaces cannot be made.
    pub fn new() -> Option<Machines> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = |role| format!("sherwood-{}-{number}-{role}", std::process::id());
        let machines = Machines { server: name("s"), client: name("c") };
        let (server, client) = (&machines.server, &machines.client);
        let mut commands = vec![
            format!("netns add {server}"),
            format!("netns add {client}"),
            format!("-n {server} link add cable type veth peer name cable netns {client}"),
        ];
        for (machine, hosts) in [(server, ["1", "9"]), (client, ["2", "3"])] {
            commands.push(format!("-n {machine} link set lo up"));
            commands.push(format!("-n {machine} link set cable up"));
            for host in hosts {
                commands
                    .push(format!("-n {machine} addr add 10.77.0.{host}/24 broadcast 10.77.0.255 dev cable"));
                commands.push(format!("-n {machine} addr add fd77::{host}/64 dev cable nodad"));
            }
        }
        for command in commands {
            if let Err(error) = ip(&command) {
                println!("SKIPPED: no network namespaces here: {error}");
                return None;
            }
        }
        Some(machines)
    }

    /// Does something in the server's namespace; sockets and threads that it makes stay there.
    pub fn on_server<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.server, work)
    }

    /// The same in the client's.
    pub fn on_client<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.client, work)
    }

    /// The index of the client's end of the cable.
    pub fn client_interface(&self) -> u32 {
        self.on_client(|| nix::net::if_::if_nametoindex("cable").unwrap())
    }

    /// Runs `ip` in the client's namespace.
    pub fn ip_on_client(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.client)).unwrap();
    }

    /// Runs `ip` in the server's namespace.
    pub fn ip_on_server(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.server)).unwrap();
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for namespace in [&self.server, &self.client] {
            // It is not there if making it failed.
            let _ = ip(&format!("netns del {namespace}"));
        }
    }
}

fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap();
    let thread = std::thread::scope(|scope| {
        // A thread that has changed its namespace cannot be used for anything else.
        let thread = scope.spawn(move || {
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        thread.join()
    });
    thread.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output().map_err(|e| format!("ip: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
