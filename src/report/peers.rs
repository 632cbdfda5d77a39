//! Which of the open connections to close when there are too many: a peer pays with its own oldest one.

use std::collections::VecDeque;
use std::net::IpAddr;

/// Open connections, oldest first.
#[derive(Debug)]
pub(super) struct Peers<T> {
    open: VecDeque<(IpAddr, T)>,
    nr_max: usize,
    nr_max_of_peer: usize,
}

impl<T> Peers<T> {
    /// At most `nr_max` connections in all, and `nr_max_of_peer` from one address.
    pub(super) fn new(nr_max: usize, nr_max_of_peer: usize) -> Self {
        Peers { open: VecDeque::new(), nr_max, nr_max_of_peer }
    }

    /// Add a connection. Returns the one to close for it, if any. A connection for which `has_ended` holds is forgotten.
    ///
    /// A new connection is always let in: whoever waits with an old one has had its time.
    pub(super) fn admit(&mut self, peer: IpAddr, connection: T, has_ended: impl Fn(&T) -> bool) -> Option<T> {
        self.open.retain(|(_, connection)| !has_ended(connection));
        let peer = peer.to_canonical();
        let loser = match self.nr_of(peer) >= self.nr_max_of_peer {
            true => Some(peer),
            false if self.open.len() >= self.nr_max => self.busiest(),
            false => None,
        };
        let closed = loser.and_then(|loser| self.open.iter().position(|(of, _)| *of == loser));
        let closed = closed.and_then(|at| self.open.remove(at));
        self.open.push_back((peer, connection));
        closed.map(|(_, connection)| connection)
    }

    fn nr_of(&self, peer: IpAddr) -> usize {
        self.open.iter().filter(|(of, _)| *of == peer).count()
    }

    /// The peer with most connections; of several, the one with the oldest.
    fn busiest(&self) -> Option<IpAddr> {
        // `max_by_key` takes the last of equal ones.
        self.open.iter().rev().map(|(peer, _)| *peer).max_by_key(|peer| self.nr_of(*peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(nr: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, nr])
    }

    /// What is closed as these peers connect one after the other, in connections numbered from 0.
    fn closed(peers: &mut Peers<usize>, of: &[u8]) -> Vec<Option<usize>> {
        of.iter().enumerate().map(|(nr, of)| peers.admit(peer(*of), nr, |_| false)).collect()
    }

    #[test]
    fn a_peer_with_too_many_loses_its_own_oldest() {
        let closed = closed(&mut Peers::new(8, 2), &[1, 2, 1, 1, 1, 2, 2]);
        assert_eq!(closed, [None, None, None, Some(0), Some(2), None, Some(1)]);
    }

    #[test]
    fn with_too_many_in_all_the_peer_with_most_loses_its_oldest() {
        let closed = closed(&mut Peers::new(4, 3), &[1, 2, 2, 3, 4, 5]);
        assert_eq!(closed, [None, None, None, None, Some(1), Some(0)]);
    }

    #[test]
    fn ended_connections_count_no_more() {
        let mut peers = Peers::new(2, 1);
        assert_eq!(peers.admit(peer(1), 0, |_| false), None);
        assert_eq!(peers.admit(peer(1), 1, |nr| *nr == 0), None);
        assert_eq!(peers.open.len(), 1);
    }

    #[test]
    fn an_ipv4_peer_is_the_same_over_an_ipv6_socket() {
        let mut peers = Peers::new(8, 1);
        assert_eq!(peers.admit(peer(1), 0, |_| false), None);
        assert_eq!(peers.admit("::ffff:127.0.0.1".parse().unwrap(), 1, |_| false), Some(0));
    }
}
