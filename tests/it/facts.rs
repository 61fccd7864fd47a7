//! Facts of machines: which distribution real release files mean, and what small roots are
//! taken for.

use instancesync::facts::Family;

use crate::support::roots::SmallRoot;

#[test]
fn presets_are_what_they_claim() {
    for (root, id, family) in [
        (SmallRoot::debian(), "debian", Family::Debian),
        (SmallRoot::ubuntu(), "ubuntu", Family::Debian),
        (SmallRoot::rocky(), "rocky", Family::Rhel),
        (SmallRoot::centos_6(), "centos", Family::Rhel),
        (SmallRoot::amazon_2(), "amzn", Family::Rhel),
        (SmallRoot::suse(), "opensuse-leap", Family::Suse),
        (SmallRoot::arch(), "arch", Family::Arch),
        (SmallRoot::gentoo(), "gentoo", Family::Gentoo),
        (SmallRoot::alpine(), "alpine", Family::Alpine),
    ] {
        let facts = root.facts();
        assert_eq!(facts.distribution.id, id);
        assert_eq!(facts.distribution.family, family, "{id}");
        assert!(!facts.is_live, "{id}");
    }
}
