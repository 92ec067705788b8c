//! What `serve` runs with: valid [`Options`], and what follows from them.

pub use crate::config::options::{Flags, Io, KeyNames, Options};

use crate::config::mode::FileMode;
use crate::config::peers;
use crate::guard::Access;
use crate::guard::Secret;
use crate::limits;
use crate::net::socket::SocketConfig;
use crate::net::socket::listener::KeepAlive;
use cache::base::clock::Clock;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::{Deref, DerefMut};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A valid configuration: all options, which it lends as its own fields, and what is no option.
#[derive(Clone, Debug)]
pub struct Config {
    options: Options,
    /// Who may ask for what.
    pub access: Access,
    /// What sockets ask for.
    pub socket: SocketConfig,
    /// When an idle peer of a TCP connection is taken for gone.
    pub keep_alive: KeepAlive,
    /// Seed of the key hash; random unless a test wants the same run twice.
    pub seed: u64,
    /// Where time comes from; the system unless a test moves it.
    pub clock: Clock,
}

impl Deref for Config {
    type Target = Options;
    fn deref(&self) -> &Options {
        &self.options
    }
}

impl DerefMut for Config {
    fn deref_mut(&mut self) -> &mut Options {
        &mut self.options
    }
}

impl Options {
    /// Checks everything, and reads the secret.
    ///
    /// # Errors
    /// One line: what is wrong and what would be right.
    pub fn check(mut self) -> Result<Config, String> {
        self.check_sizes()?;
        self.mean_item_bytes = self.mean_item_bytes.clamp(32, 1 << 20);
        let access = Access {
            allow: self.allow.clone(),
            admin: self.admin.clone(),
            secret: self.secret_file.as_deref().map(secret).transpose()?,
            distrust_loopback: false,
        };
        self.check_streams()?;
        self.check_addresses(&access)?;
        let socket = SocketConfig {
            receive_buffer_bytes: limits::SOCKET_BUFFER_BYTES,
            send_buffer_bytes: limits::SOCKET_BUFFER_BYTES,
            gro: true,
            steering: !self.no_steering,
        };
        let (seed, clock) = (cache::base::hash::KeyHash::random_seed(), Clock::system());
        Ok(Config { options: self, access, socket, keep_alive: KeepAlive::default(), seed, clock })
    }

    fn check_sizes(&self) -> Result<(), String> {
        if self.memory_bytes < limits::MEMORY_BYTES_MIN {
            let least = numa::report::Bytes(limits::MEMORY_BYTES_MIN as u64);
            return Err(format!(
                "--memory {} bytes is too small: at least {least}, and {least} per worker",
                self.memory_bytes
            ));
        }
        match (1..=limits::VALUE_BYTES_LIMIT).contains(&self.value_bytes_max) {
            true => Ok(()),
            false => Err(format!(
                "--value-max {} bytes is not possible: give 1 to {} bytes (16MiB less one)",
                self.value_bytes_max,
                limits::VALUE_BYTES_LIMIT
            )),
        }
    }

    fn check_streams(&self) -> Result<(), String> {
        if !self.transport.any() && self.unix.is_none() {
            return Err(
                "--transport none leaves nothing to serve on: give udp,tcp or one of them, or --unix PATH"
                    .into(),
            );
        }
        match &self.unix {
            Some(path) => check_unix_path(path)?,
            None if self.unix_mode != FileMode::default() => {
                return Err(
                    "--unix-mode says who may open the socket of --unix: give --unix PATH, too".into()
                );
            }
            None => {}
        }
        if !(1..=limits::CONNECTIONS_MAX).contains(&self.max_connections) {
            return Err(format!(
                "--max-connections {} is not possible: give 1 to {}, or --transport udp to serve no connections",
                self.max_connections,
                limits::CONNECTIONS_MAX
            ));
        }
        if self.idle_timeout_s > limits::IDLE_TIMEOUT_S_MAX {
            return Err(format!(
                "--idle-timeout {} s is too long: give up to {} s, or 0 to close no idle connection",
                self.idle_timeout_s,
                limits::IDLE_TIMEOUT_S_MAX
            ));
        }
        self.peers.as_deref().map_or(Ok(()), |path| peers::read(path).map(drop))
    }

    fn check_addresses(&self, access: &Access) -> Result<(), String> {
        let listen = *self.listen;
        if self.transport.any() && is_group(listen.ip().to_canonical()) {
            return Err(format!(
                "--listen {listen} is a broadcast or multicast address: give an address of this machine"
            ));
        }
        let is_open =
            self.transport.any() && !listen.ip().to_canonical().is_loopback() && access.allow.is_empty();
        if is_open && access.secret.is_some() && !self.transport.udp {
            return Err(format!(
                "--listen {listen} with --transport tcp would serve loopback only, because --secret-file is for UDP: name who \
                 may connect with --allow CIDR, add udp to --transport, or listen on 127.0.0.1"
            ));
        }
        if is_open && access.secret.is_none() {
            return Err(format!(
                "--listen {listen} is open to the network: name who may ask with --allow CIDR, let others prove \
                 their address with --secret-file FILE, or listen on 127.0.0.1"
            ));
        }
        if let Some(metrics) = self.metrics.as_deref().filter(|addr| !addr.ip().to_canonical().is_loopback())
            && access.allow.is_empty()
            && access.admin.is_empty()
        {
            return Err(format!(
                "--metrics {metrics} is open to the network: name who may scrape with --allow CIDR or --admin CIDR, or \
                 serve metrics on 127.0.0.1"
            ));
        }
        Ok(())
    }
}

fn is_group(ip: IpAddr) -> bool {
    ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST)
}

fn check_unix_path(path: &Path) -> Result<(), String> {
    let bytes = path.as_os_str().as_bytes();
    match bytes.len() {
        0 => Err("--unix needs a path".into()),
        _ if bytes[0] == b'@' => Err(format!(
            "--unix {0}: abstract sockets are not served, because anybody may open them; give a path (./{0} for a file of that name)",
            path.display()
        )),
        1..=limits::UNIX_PATH_BYTES_MAX if !bytes.contains(&0) => Ok(()),
        length => Err(format!(
            "--unix {} has {length} bytes, and a path of a UNIX socket at most {}: give a shorter one",
            path.display(),
            limits::UNIX_PATH_BYTES_MAX
        )),
    }
}

fn secret(path: &Path) -> Result<Secret, String> {
    let content =
        std::fs::read(path).map_err(|e| format!("cannot read the secret file {}: {e}", path.display()))?;
    Secret::new(&content).map_err(|e| format!("{}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::socket::transports::Transports;

    #[test]
    fn mistakes_are_named() {
        let with = |f: fn(&mut Options)| {
            let mut options = Options::default();
            f(&mut options);
            options.check().unwrap_err()
        };
        assert!(with(|o| o.memory_bytes = 1 << 10).contains("too small"));
        assert!(with(|o| o.value_bytes_max = 0).contains("--value-max"));
        assert!(with(|o| o.value_bytes_max = 1 << 24).contains("--value-max"));
        assert!(with(|o| o.listen = "0.0.0.0:1".parse().unwrap()).contains("--allow"));
        assert!(with(|o| o.metrics = Some("0.0.0.0:1".parse().unwrap())).contains("--admin"));
        assert!(with(|o| o.secret_file = Some("none such".into())).contains("none such"));
        assert!(with(|o| o.transport = Transports::NONE).contains("--unix PATH"));
        assert!(with(|o| o.unix = Some("".into())).contains("--unix"));
        assert!(with(|o| o.unix = Some("@s".into())).contains("./@s"));
        assert!(with(|o| o.unix_mode = "770".parse().unwrap()).contains("give --unix PATH"));
        assert!(with(|o| o.unix = Some("x".repeat(108).into())).contains("108 bytes"));
        assert!(with(|o| o.max_connections = 0).contains("--max-connections 0"));
        assert!(with(|o| o.max_connections = 1 << 20).contains("--max-connections"));
        assert!(with(|o| o.idle_timeout_s = 1 << 40).contains("--idle-timeout"));
        assert!(
            with(|o| o.peers = Some("no such file".into())).contains("--peers no such file: cannot be read")
        );
        for group in ["224.0.0.1:1", "255.255.255.255:1", "[ff02::1]:1"] {
            let options = Options { listen: group.parse().unwrap(), ..Options::default() };
            assert!(options.check().unwrap_err().contains("multicast"), "{group}");
        }
    }

    #[test]
    fn a_server_does_not_start_open() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, [7; 32]).unwrap();
        let check = |transport, allow: &[&str], has_secret: bool| {
            let options = Options {
                listen: "0.0.0.0:1".parse().unwrap(),
                transport,
                unix: Some("s".into()),
                allow: allow.iter().map(|cidr| cidr.parse().unwrap()).collect(),
                secret_file: has_secret.then(|| secret.clone()),
                ..Options::default()
            };
            options.check().map(drop)
        };
        let (tcp, udp) = (Transports { udp: false, tcp: true }, Transports { udp: true, tcp: false });
        for transports in [Transports::ALL, tcp, udp] {
            assert!(check(transports, &[], false).unwrap_err().contains("--allow"), "{transports}");
            assert_eq!(check(transports, &["10.0.0.0/8"], false), Ok(()), "{transports}");
        }
        assert_eq!(check(Transports::ALL, &[], true), Ok(()));
        assert!(check(tcp, &[], true).unwrap_err().contains("--secret-file is for UDP"));
        assert_eq!(check(Transports::NONE, &[], false), Ok(()), "the address is not bound");
    }

    #[test]
    fn a_configuration_has_the_options_and_what_follows() {
        let options = Options { mean_item_bytes: 1, no_steering: true, ..Options::default() };
        let config = options.check().unwrap();
        assert_eq!((config.mean_item_bytes, config.socket.steering), (32, false));
        assert_eq!(config.listen.to_string(), "127.0.0.1:11211");
    }
}
