//! What `serve` runs with: valid [`Options`], and what follows from them.

pub use crate::config::options::{Flags, Io, KeyNames, Options};

use crate::guard::Access;
use crate::guard::Secret;
use crate::limits;
use crate::net::socket::SocketConfig;
use cache::base::clock::Clock;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::{Deref, DerefMut};
use std::path::Path;

/// A valid configuration: all options, which it lends as its own fields, and what is no option.
#[derive(Clone, Debug)]
pub struct Config {
    options: Options,
    /// Who may ask for what.
    pub access: Access,
    /// What sockets ask for.
    pub socket: SocketConfig,
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
        self.check_addresses(&access)?;
        let socket = SocketConfig {
            receive_buffer_bytes: limits::SOCKET_BUFFER_BYTES,
            send_buffer_bytes: limits::SOCKET_BUFFER_BYTES,
            gro: true,
            steering: !self.no_steering,
        };
        let (seed, clock) = (cache::base::hash::KeyHash::random_seed(), Clock::system());
        Ok(Config { options: self, access, socket, seed, clock })
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

    fn check_addresses(&self, access: &Access) -> Result<(), String> {
        let listen = *self.listen;
        if is_group(listen.ip().to_canonical()) {
            return Err(format!(
                "--listen {listen} is a broadcast or multicast address: give an address of this machine"
            ));
        }
        if !listen.ip().to_canonical().is_loopback() && access.allow.is_empty() && access.secret.is_none() {
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

fn secret(path: &Path) -> Result<Secret, String> {
    let content =
        std::fs::read(path).map_err(|e| format!("cannot read the secret file {}: {e}", path.display()))?;
    Secret::new(&content).map_err(|e| format!("{}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for group in ["224.0.0.1:1", "255.255.255.255:1", "[ff02::1]:1"] {
            let options = Options { listen: group.parse().unwrap(), ..Options::default() };
            assert!(options.check().unwrap_err().contains("multicast"), "{group}");
        }
    }

    #[test]
    fn a_configuration_has_the_options_and_what_follows() {
        let options = Options { mean_item_bytes: 1, no_steering: true, ..Options::default() };
        let config = options.check().unwrap();
        assert_eq!((config.mean_item_bytes, config.socket.steering), (32, false));
        assert_eq!(config.listen.to_string(), "127.0.0.1:11211");
    }
}
