//! Lanes of plain addresses: one for each origin (scheme, host and port), opened by the first call that names it and closed
//! when it has been empty for a while. Which are open is written down in a lane of its own, since nobody else knows.

use std::collections::BTreeMap;

use outbound::Url;
use proto::{DeliveryNoted, DestinationName, EventId, ProfileId, Share};

use crate::template::{Spelling, UrlTemplate};

/// Lanes of one group.
pub(crate) const OPEN_MAX: usize = 4096;
/// Where it is written down which are open.
const DIRECTORY: &str = "urls";
const ORIGIN: &str = "url-";
const PROFILE: &str = "profile-";

pub(crate) fn directory() -> DestinationName {
    name(DIRECTORY.to_owned())
}

/// The lane of a profile, as the tables name it.
pub fn lane_of_profile(id: &ProfileId) -> DestinationName {
    name(format!("{PROFILE}{id}"))
}

/// The lane of a plain address, which is a template. What is no address has a lane, too, where it is given up.
pub(crate) fn lane_of_url(url: &str) -> DestinationName {
    let origin = UrlTemplate::compile(url, Spelling::Doubled).map(|template| origin(template.frame()));
    name(format!("{ORIGIN}{}", &EventId::of(&["origin", &origin.unwrap_or_default()]).as_str()[..32]))
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

pub(crate) fn is_of_url(lane: &DestinationName) -> bool {
    lane.as_str().starts_with(ORIGIN)
}

/// Names that no destination may have.
pub(crate) fn is_reserved(destination: &DestinationName) -> bool {
    let name = destination.as_str();
    name == DIRECTORY || name.starts_with(ORIGIN) || name.starts_with(PROFILE)
}

#[expect(clippy::expect_used, reason = "made of letters, digits and '-', and short")]
fn name(text: String) -> DestinationName {
    DestinationName::new(text).expect("a name")
}

/// Which lanes a group has open: the fold of the directory.
#[derive(Debug)]
pub(crate) struct Origins {
    group: Share,
    /// And who opened them: the group, or others with the same calls when there was another number of groups.
    open: BTreeMap<DestinationName, BTreeMap<Share, u64>>,
    last_seq: u64,
}

impl Origins {
    pub(crate) fn new(group: Share) -> Self {
        Self { group, open: BTreeMap::new(), last_seq: 0 }
    }

    pub(crate) fn apply(&mut self, seq: u64, noted: &DeliveryNoted) {
        self.last_seq = self.last_seq.max(seq);
        match noted {
            DeliveryNoted::Opened { group, lane } if group.overlaps(self.group) => {
                self.open.entry(lane.clone()).or_default().insert(*group, seq);
            }
            DeliveryNoted::Closed { group, lane } if *group == self.group => drop(self.open.remove(lane)),
            DeliveryNoted::Closed { group, lane } => {
                if let Some(openers) = self.open.get_mut(lane) {
                    openers.remove(group);
                    if openers.is_empty() {
                        self.open.remove(lane);
                    }
                }
            }
            DeliveryNoted::Opened { .. }
            | DeliveryNoted::Queued { .. }
            | DeliveryNoted::Attempted { .. }
            | DeliveryNoted::Delivered { .. }
            | DeliveryNoted::Failed { .. }
            | DeliveryNoted::Dead { .. }
            | DeliveryNoted::Retried { .. }
            | DeliveryNoted::FellBehind { .. }
            | DeliveryNoted::CaughtUp { .. }
            | DeliveryNoted::Broke { .. }
            | DeliveryNoted::Mended { .. } => {}
        }
    }

    pub(crate) fn has(&self, lane: &DestinationName) -> bool {
        self.open.contains_key(lane)
    }

    pub(crate) fn lanes(&self) -> impl Iterator<Item = &DestinationName> {
        self.open.keys()
    }

    /// A reading of the directory has to begin after this.
    pub(crate) fn needed_after(&self) -> u64 {
        let oldest = self.open.values().flat_map(BTreeMap::values).min();
        oldest.map_or(self.last_seq, |oldest| oldest - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_origin_share_a_lane() {
        let lane = lane_of_url("https://example.com/a?x={{caller}}");
        assert_eq!(lane, lane_of_url("HTTPS://EXAMPLE.com:443/{{custom}}"));
        for other in ["http://example.com/a", "https://example.com:8443/a", "https://example.org/a", "nonsense"] {
            assert_ne!(lane, lane_of_url(other), "{other}");
        }
        assert!(is_of_url(&lane) && is_reserved(&lane) && is_reserved(&directory()));
    }

    #[test]
    fn what_others_opened_is_open_until_they_or_we_close_it() {
        let share = |text: &str| text.parse::<Share>().expect("share");
        let (ours, lane) = (share("1/2"), lane_of_url("https://example.com/"));
        let opened = |group: &str| DeliveryNoted::Opened { group: share(group), lane: lane.clone() };
        let closed = |group: &str| DeliveryNoted::Closed { group: share(group), lane: lane.clone() };
        let mut origins = Origins::new(ours);
        origins.apply(3, &opened("2/2"));
        assert!(!origins.has(&lane));
        origins.apply(4, &opened("1/1"));
        origins.apply(5, &opened("1/2"));
        assert!(origins.has(&lane) && origins.needed_after() == 3);
        origins.apply(6, &closed("1/1"));
        assert!(origins.has(&lane) && origins.needed_after() == 4);
        origins.apply(7, &closed("1/2"));
        assert!(!origins.has(&lane) && origins.needed_after() == 7);
    }
}
