//! Which tools are found less well than before, as whoever compares tells it.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::RwLock;
use toolscout_core::{ToolId, UpstreamId};

/// The tools that fell in the last change of their upstream.
#[derive(Debug, Default)]
pub struct Findability(RwLock<BTreeMap<UpstreamId, BTreeSet<ToolId>>>);

impl Findability {
    /// Takes the outcome of one comparison: what was known of these upstreams is over, and these tools fell.
    pub fn compared(&self, upstreams: impl Iterator<Item = UpstreamId>, fallen: impl Iterator<Item = ToolId>) {
        let mut known = self.0.write();
        upstreams.for_each(|id| drop(known.remove(&id)));
        for tool in fallen {
            known.entry(tool.upstream.clone()).or_default().insert(tool);
        }
    }

    /// The tools of an upstream that fell, by id.
    pub fn fallen(&self, upstream: &UpstreamId) -> Vec<ToolId> {
        self.0.read().get(upstream).map(|tools| tools.iter().cloned().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_replaces_what_was_known_of_its_upstreams() {
        let known = Findability::default();
        let (a, b) = (UpstreamId::new("a").unwrap(), UpstreamId::new("b").unwrap());
        let tool = |id: &str| id.parse::<ToolId>().unwrap();
        known.compared([a.clone()].into_iter(), [tool("a:x"), tool("b:y")].into_iter());
        assert_eq!((known.fallen(&a), known.fallen(&b)), (vec![tool("a:x")], vec![tool("b:y")]));
        known.compared([a.clone()].into_iter(), std::iter::empty());
        assert_eq!((known.fallen(&a), known.fallen(&b)), (vec![], vec![tool("b:y")]));
    }
}
