//! Who asks, as far as the limits of one client go: the address that a request comes from.
//!
//! Owns how addresses become identities. Must never trust a header that the operator has not named: any client can send
//! one.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderName};

/// The identity of a client: an IPv4 address, or the first 64 bits of an IPv6 address, which is what one customer of a
/// network has at least. With a `header`, the last address in it counts, the one that the nearest proxy saw; a request
/// without a readable one goes by the peer's own address.
pub(super) fn identity(peer: IpAddr, header: Option<&HeaderName>, headers: &HeaderMap) -> String {
    let told = header.and_then(|name| last_address(name, headers));
    match told.unwrap_or(peer).to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let network = Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64));
            format!("{network}/64")
        }
    }
}

fn last_address(name: &HeaderName, headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    let text = last.rsplit(',').next()?.trim();
    // Some proxies write the port, too, and brackets around an IPv6 address.
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const NAME: HeaderName = HeaderName::from_static("x-forwarded-for");
    const PEER: &str = "198.51.100.9";

    fn told(header: Option<&HeaderName>, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(NAME, HeaderValue::from_str(line).unwrap());
        }
        identity(PEER.parse().unwrap(), header, &headers)
    }

    #[test]
    fn addresses_are_identities() {
        let identity = |peer: &str| identity(peer.parse().unwrap(), None, &HeaderMap::new());
        assert_eq!(identity("192.0.2.1"), "192.0.2.1");
        assert_eq!(identity("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(identity("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(identity("2001:db8:1:2:ffff::1"), identity("2001:db8:1:2::2"));
        assert_ne!(identity("2001:db8:1:3::1"), identity("2001:db8:1:2::1"));
    }

    #[test]
    fn a_header_counts_only_where_it_is_named_and_by_its_last_address() {
        assert_eq!(told(None, &["203.0.113.1"]), PEER);
        for lines in [
            &["203.0.113.1"][..],
            &["10.0.0.1, 203.0.113.1"],
            &["10.0.0.1", "10.0.0.2 ,  203.0.113.1 "],
            &["203.0.113.1:4711"],
        ] {
            assert_eq!(told(Some(&NAME), lines), "203.0.113.1", "{lines:?}");
        }
        for line in ["2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:443"] {
            assert_eq!(told(Some(&NAME), &[line]), "2001:db8::/64", "{line}");
        }
        for lines in [&[][..], &[""], &["unknown"], &["203.0.113.1, unknown"], &["203.0.113.1, "]] {
            assert_eq!(told(Some(&NAME), lines), PEER, "{lines:?}");
        }
    }
}
