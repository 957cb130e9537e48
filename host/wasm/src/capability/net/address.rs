//! Where does a name lead, and may a request go there? A name is looked up once, each address is judged, and the connection
//! is made to an address that was judged: what the name leads to a moment later is of no account.
//!
//! A grant of a name reaches the public internet. Networks that only this machine or its neighbours can see are opened by
//! `private = true`. What nobody means by a name (the metadata of clouds, multicast, reserved ranges) is reached only by a
//! grant that names the address itself. An address inside of another one (mapped, translated, tunnelled) is judged as the
//! one that it stands for.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

/// Looks up names.
///
/// The host judges every address that comes back, so a resolver cannot widen what has been granted.
pub trait Resolver: Send + Sync {
    /// The addresses behind a name, the best first.
    fn resolve(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// How far a request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reach {
    /// To public addresses.
    Public,
    /// Also to those of private networks, and of this machine.
    Private,
    /// To the one address that the grant names.
    Named,
}

impl Reach {
    /// Why a request must not go to that address, as a word for it; nothing where it may.
    pub(crate) fn refuses(self, address: IpAddr) -> Option<&'static str> {
        match (self, kind(address)) {
            (Reach::Named, _) | (_, Kind::Public) | (Reach::Private, Kind::Private(_)) => None,
            (_, Kind::Private(word) | Kind::Special(word)) => Some(word),
        }
    }

    /// What the operator can do about it.
    pub(crate) fn help(self, address: IpAddr) -> &'static str {
        match kind(address) {
            Kind::Private(_) if self == Reach::Public => "the operator can allow it with `private = true` in the grant",
            _ => "the operator can allow it with a grant that names the address itself",
        }
    }
}

/// What an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Public,
    Private(&'static str),
    Special(&'static str),
}

const METADATA: Kind = Kind::Special("the metadata service of a cloud");
const RESERVED: Kind = Kind::Special("a reserved address");
const PRIVATE: Kind = Kind::Private("a private address");
const LOOPBACK: Kind = Kind::Private("a loopback address");

fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(address) => kind_v4(address),
        IpAddr::V6(address) => kind_v6(address),
    }
}

fn kind_v4(address: Ipv4Addr) -> Kind {
    match address.octets() {
        [169, 254, 169, 254] | [168, 63, 129, 16] | [100, 100, 100, 200] | [192, 0, 0, 192] => METADATA,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => PRIVATE,
        [127, ..] => LOOPBACK,
        [100, 64..=127, ..] => Kind::Private("an address of a shared network"),
        [198, 18..=19, ..] => Kind::Private("an address of a test network"),
        [169, 254, ..] => Kind::Special("a link-local address"),
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 51, 100, _] | [203, 0, 113, _] => RESERVED,
        [224..=239, ..] => Kind::Special("a multicast address"),
        [0 | 240..=255, ..] => RESERVED,
        _ => Kind::Public,
    }
}

fn kind_v6(address: Ipv6Addr) -> Kind {
    let inner = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        kind_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => LOOPBACK,
        // Mapped; translated (NAT64); tunnelled (6to4).
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            inner(high, low)
        }
        [0xfd00, 0xec2, ..] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => METADATA,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => PRIVATE,
        [0xfe80..=0xfebf, ..] => Kind::Special("a link-local address"),
        [0xff00..=0xffff, ..] => Kind::Special("a multicast address"),
        // Teredo and other protocols' own; documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => RESERVED,
        [0x2000..=0x3fff, ..] => Kind::Public,
        _ => RESERVED,
    }
}

/// Lookups of the system's resolver that run at once. Each holds a thread, also when nobody waits for it any more.
const LOOKUPS_MAX: usize = 64;

/// Lookups of one component that run at once: names that nobody answers for leave threads for the others.
const LOOKUPS_OF_ONE_MAX: usize = LOOKUPS_MAX / 4;

/// Looks up names for components.
pub(crate) struct Lookups {
    resolver: Arc<dyn Resolver>,
    of_one: Mutex<HashMap<String, Weak<Semaphore>>>,
}

impl Lookups {
    pub(super) fn new(resolver: Arc<dyn Resolver>) -> Self {
        Lookups { resolver, of_one: Mutex::default() }
    }

    /// The addresses behind a name, the best first.
    ///
    /// # Cancel safety
    /// Dropping the future leaves a lookup that has begun to its own end, which nobody waits for.
    pub(crate) async fn find(&self, component: &str, host: String) -> io::Result<Vec<IpAddr>> {
        let place = self.of(component).acquire_owned().await.map_err(io::Error::other)?;
        let looking = self.resolver.resolve(host);
        // What goes on after nobody waits for it is still that component's.
        let looking = async move {
            let _place = place;
            looking.await
        };
        tokio::spawn(looking).await?
    }

    fn of(&self, component: &str) -> Arc<Semaphore> {
        let mut all = self.of_one.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = all.get(component).and_then(Weak::upgrade) {
            return places;
        }
        all.retain(|_, places| places.strong_count() > 0);
        let places = Arc::new(Semaphore::new(LOOKUPS_OF_ONE_MAX));
        all.insert(component.to_owned(), Arc::downgrade(&places));
        places
    }
}

/// The resolver of the operating system.
pub(super) struct System(Arc<Semaphore>);

impl Default for System {
    fn default() -> Self {
        System(Arc::new(Semaphore::new(LOOKUPS_MAX)))
    }
}

impl Resolver for System {
    fn resolve(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let places = self.0.clone();
        Box::pin(async move {
            let place = places.acquire_owned().await.map_err(io::Error::other)?;
            let lookup = move || {
                let _place = place;
                (host.as_str(), 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect())
            };
            tokio::task::spawn_blocking(lookup).await?
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// Each of these addresses is of that kind: `+` public, `-` private, `!` special.
    fn check(sign: char, addresses: &str) {
        for address in addresses.split_whitespace() {
            let found = match kind(address.parse().unwrap()) {
                Kind::Public => '+',
                Kind::Private(_) => '-',
                Kind::Special(_) => '!',
            };
            assert_eq!(found, sign, "{address}");
        }
    }

    /// Says nothing to anybody, and counts who asks.
    struct Silent(AtomicUsize);

    impl Resolver for Silent {
        fn resolve(&self, _: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_component_has_a_part_of_all_lookups_also_when_it_waits_no_more() {
        let silent = Arc::new(Silent(AtomicUsize::new(0)));
        let lookups = Lookups::new(silent.clone());
        let late = async |component: &str| {
            let found = lookups.find(component, "a.test".into());
            assert!(timeout(Duration::from_millis(1), found).await.is_err());
        };
        for _ in 0..LOOKUPS_MAX {
            late("one").await;
        }
        assert_eq!(silent.0.load(Ordering::Relaxed), LOOKUPS_OF_ONE_MAX);
        late("other").await;
        assert_eq!(silent.0.load(Ordering::Relaxed), LOOKUPS_OF_ONE_MAX + 1);
    }

    #[test]
    fn public_addresses_are_public() {
        check('+', "1.1.1.1 8.8.8.8 100.63.255.255 100.128.0.0 172.15.0.1 172.32.0.1 192.0.1.1 198.17.0.1 198.20.0.1");
        check('+', "9.255.255.255 11.0.0.0 126.255.255.255 128.0.0.1 169.253.0.1 169.255.0.1 223.255.255.255");
        check('+', "2606:4700:4700::1111 2a00:1450:4001::1 2001:4860:4860::8888 2001:200::1 3ffe::1");
    }

    #[test]
    fn networks_that_only_neighbours_see_are_private() {
        check('-', "10.0.0.0 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 127.0.0.1 127.255.255.254");
        check('-', "100.64.0.1 100.127.255.255 198.18.0.1 198.19.255.255 ::1 fc00::1 fdff::1 fec0::1");
    }

    #[test]
    fn what_nobody_means_by_a_name_is_special() {
        check('!', "169.254.169.254 169.254.170.2 169.254.0.1 168.63.129.16 100.100.100.200 192.0.0.192 192.0.0.1");
        check('!', "0.0.0.0 0.1.2.3 192.0.2.1 192.88.99.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255");
        check(
            '!',
            "240.0.0.1 255.255.255.255 :: ::2 ::127.0.0.1 fe80::1 febf::1 ff02::1 fd00:ec2::254 fd00:ec2::23 fd20:ce::254",
        );
        check('!', "2001::1 2001:db8::1 2001:10::1 2001:20::1 3fff::1 3fff:fff::1 100::1 5f00::1 4000::1 64:ff9b:1::1");
    }

    #[test]
    fn an_address_inside_of_another_is_judged_as_what_it_stands_for() {
        check('-', "::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::7f00:1 64:ff9b::10.0.0.1 2002:7f00:1:: 2002:a00:1::5");
        check('!', "::ffff:169.254.169.254 ::ffff:0.0.0.0 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe::");
        check('+', "::ffff:1.1.1.1 64:ff9b::808:808 2002:808:808::");
    }

    #[test]
    fn a_grant_reaches_as_far_as_it_says() {
        let refused = |reach: Reach, address: &str| reach.refuses(address.parse().unwrap()).is_some();
        for (address, wanted) in
            [("1.1.1.1", [false; 3]), ("10.0.0.1", [true, false, false]), ("169.254.1.1", [true, true, false])]
        {
            assert_eq!([Reach::Public, Reach::Private, Reach::Named].map(|reach| refused(reach, address)), wanted);
        }
    }
}
