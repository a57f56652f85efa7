//! Keys for limits by client.

use crate::store::Key;
use std::net::IpAddr;

/// The key of a client by its address: of IPv4 the whole address, of IPv6 the first 64 bits, since one client has all the addresses of such a network. An
/// IPv4 address written as IPv6 is the IPv4 address.
///
/// ```
/// use steadfast::store::rate::ip_key;
/// assert_eq!(ip_key([192, 0, 2, 7].into()).as_str(), "192.0.2.7");
/// assert_eq!(ip_key("2001:db8:1:2:3::4".parse().unwrap()), ip_key("2001:db8:1:2::ffff".parse().unwrap()));
/// assert_ne!(ip_key("2001:db8:1:2::1".parse().unwrap()), ip_key("2001:db8:1:3::1".parse().unwrap()));
/// assert_eq!(ip_key("::ffff:192.0.2.7".parse().unwrap()).as_str(), "192.0.2.7");
/// ```
#[must_use]
pub fn ip_key(address: IpAddr) -> Key {
    Key::from_text(match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    })
}
