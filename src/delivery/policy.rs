//! Where a server may send: a mock must not become a way into somebody's network.

use std::net::{IpAddr, Ipv4Addr};

/// Which addresses may be sent to.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Hosts that may have any address but one that is never allowed; lower case.
    hosts: Vec<String>,
}

impl Policy {
    /// Loopback and private addresses, and whatever these hosts have.
    pub fn new(hosts: &[String]) -> Policy {
        let plain = |host: &String| {
            let host = host.trim_matches(['[', ']']).trim_end_matches('.');
            host.to_ascii_lowercase()
        };
        Policy {
            hosts: hosts.iter().map(plain).collect(),
        }
    }

    /// Whether a host may be sent to at that address.
    ///
    /// # Errors
    ///
    /// Why not and, after a line break, how to allow it.
    pub fn check(&self, host: &str, address: IpAddr) -> Result<(), String> {
        let address = address.to_canonical();
        if is_metadata(address) || carried(address).is_some_and(is_metadata) {
            return Err(format!(
                "{address} is a link-local or metadata address; these are never sent to\n\
                 register an address of your receiver's own"
            ));
        }
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if is_near(address) || self.hosts.contains(&host) {
            return Ok(());
        }
        Err(format!(
            "{host} is at {address}, which is neither loopback nor private\n\
             start the server with `--allow-destination {host}` to send there"
        ))
    }
}

/// The IPv4 address that an IPv6 address carries to whoever translates it or unpacks it, somewhere in the
/// network: what is near for them need not be near for us.
fn carried(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(six) = address else {
        return None;
    };
    let four = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
    };
    match six.segments() {
        // The old "compatible" form; `::` and `::1` are no such.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => four(high, low),
        // Translated: without a prefix, well known, and local.
        [0, 0, 0, 0, 0xffff, 0, high, low] => four(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => four(high, low),
        [0x64, 0xff9b, 1, _, _, _, high, low] => four(high, low),
        // 6to4; Teredo, which turns every bit; ISATAP.
        [0x2002, high, low, ..] => four(high, low),
        [0x2001, 0, .., high, low] => four(!high, !low),
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => four(high, low),
        _ => None,
    }
}

/// Where clouds keep what their machines may know of themselves.
fn is_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => four.is_link_local(),
        IpAddr::V6(six) => {
            six.is_unicast_link_local()
                // Amazon's and Google's, in the range of private addresses.
                || matches!(six.segments(), [0xfd00, 0xec2, ..] | [0xfd20, 0xce, ..])
        }
    }
}

fn is_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => four.is_loopback() || four.is_private(),
        IpAddr::V6(six) => six.is_loopback() || six.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(policy: &Policy, host: &str, address: &str) -> bool {
        policy.check(host, address.parse().unwrap()).is_ok()
    }

    #[test]
    fn near_addresses_may_be_sent_to() {
        let policy = Policy::default();
        for near in [
            "127.0.0.1",
            "127.8.8.8",
            "::1",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.9.9",
            "fd12::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
        ] {
            assert!(allowed(&policy, "some.host", near), "{near}");
        }
    }

    #[test]
    fn others_may_not_unless_their_host_is_named() {
        let far = [
            "8.8.8.8",
            "172.32.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "198.18.0.1",
            "::",
            "2001:4860:4860::8888",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "::8.8.8.8",
            "ff02::1",
            // Near for whoever translates or unpacks them.
            "64:ff9b::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1:808:8:800:7f00:1",
            "2002:7f00:1::1",
            "2002:a00:1::1",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
        ];
        for far in far {
            assert!(!allowed(&Policy::default(), "some.host", far), "{far}");
            let policy = Policy::new(&["Some.Host.".to_owned()]);
            assert!(allowed(&policy, "some.HOST", far), "{far}");
            assert!(!allowed(&policy, "other.host", far), "{far}");
        }
    }

    #[test]
    fn metadata_never() {
        let policy = Policy::new(&["some.host".to_owned()]);
        for metadata in [
            "169.254.169.254",
            "169.254.1.1",
            "::ffff:169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "::ffff:0:169.254.169.254",
            "2001:0:1:2:3:4:5601:5601",
            "2001:db8::5efe:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a9fe:a9fe",
            "2002:a9fe:a9fe::",
            "::169.254.169.254",
        ] {
            assert!(!allowed(&policy, "some.host", metadata), "{metadata}");
        }
    }
}
