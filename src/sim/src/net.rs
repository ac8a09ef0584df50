//! The network between the machines: loss, delay, duplication, reordering, cuts.

use crate::machine::{MS, Ns};
use crate::rng::Rng;

/// Most links that a seed's nodes have.
pub(crate) const LINKS: usize = 2;

/// All paths between all machines.
#[derive(Clone, Debug)]
pub(crate) struct Net {
    size: usize,
    links: usize,
    /// How many faults cut this direction of this link.
    cuts: Vec<[u8; LINKS]>,
    /// When the pair was last cut on all links in some direction.
    last_cut: Vec<Option<Ns>>,
    /// How many faults isolate that machine from the switch.
    isolated: Vec<u8>,
    /// Lost, of 1,000.
    pub(crate) loss: u64,
    /// Doubled, of 1,000.
    pub(crate) doubled: u64,
    /// Longest ordinary delay.
    pub(crate) delay: Ns,
}

impl Net {
    /// The network of that seed.
    pub(crate) fn of(rng: &mut Rng, size: usize, links: usize) -> Self {
        Self {
            size,
            links: links.min(LINKS),
            cuts: vec![[0; LINKS]; size * size],
            last_cut: vec![None; size * size],
            isolated: vec![0; size],
            loss: rng.pick(&[0, 0, 10, 40]),
            doubled: rng.pick(&[0, 0, 20, 100]),
            delay: rng.pick(&[1, 1, 5, 15]) * MS,
        }
    }

    /// How many links each pair has.
    pub(crate) const fn links(&self) -> usize {
        self.links
    }

    const fn at(&self, from: usize, to: usize) -> usize {
        from * self.size + to
    }

    /// Cuts that direction on that link, or all links.
    pub(crate) fn cut(&mut self, from: usize, to: usize, link: Option<usize>, now: Ns) {
        let at = self.at(from, to);
        for l in 0..self.links {
            if link.is_none_or(|only| only == l) {
                self.cuts[at][l] += 1;
            }
        }
        self.note(from, to, now);
    }

    /// Undoes one [`Net::cut`].
    pub(crate) fn mend(&mut self, from: usize, to: usize, link: Option<usize>, now: Ns) {
        self.note(from, to, now);
        let at = self.at(from, to);
        for l in 0..self.links {
            if link.is_none_or(|only| only == l) {
                self.cuts[at][l] -= 1;
            }
        }
    }

    fn note(&mut self, from: usize, to: usize, now: Ns) {
        if !self.passes(from, to) {
            let (one, other) = (self.at(from, to), self.at(to, from));
            self.last_cut[one] = Some(now);
            self.last_cut[other] = Some(now);
        }
    }

    /// Cuts a machine off from all others and from the reference address, or undoes that.
    pub(crate) fn isolate(&mut self, node: usize, off: bool, now: Ns) {
        for other in (0..self.size).filter(|o| *o != node) {
            for (from, to) in [(node, other), (other, node)] {
                if off {
                    self.cut(from, to, None, now);
                } else {
                    self.mend(from, to, None, now);
                }
            }
        }
        if off {
            self.isolated[node] += 1;
        } else {
            self.isolated[node] -= 1;
        }
    }

    /// It reaches the switch.
    pub(crate) fn has_way_out(&self, node: usize) -> bool {
        self.isolated[node] == 0
    }

    /// Something may get through from one to the other.
    pub(crate) fn passes(&self, from: usize, to: usize) -> bool {
        self.cuts[self.at(from, to)][..self.links].contains(&0)
    }

    /// Both directions are open and have been since then.
    pub(crate) fn calm_since(&self, one: usize, other: usize, since: Ns) -> bool {
        self.passes(one, other)
            && self.passes(other, one)
            && self.last_cut[self.at(one, other)].is_none_or(|at| at < since)
    }

    /// Any direction of any link between any two is cut.
    pub(crate) fn is_cut_anywhere(&self) -> bool {
        self.cuts.iter().any(|links| links.iter().any(|c| *c > 0))
    }

    /// The delays after which copies of one datagram arrive: none, one or two.
    pub(crate) fn copies(
        &self,
        from: usize,
        to: usize,
        link: usize,
        rng: &mut Rng,
    ) -> [Option<Ns>; 2] {
        if self.cuts[self.at(from, to)][link] > 0 || rng.chance(self.loss) {
            return [None, None];
        }
        let first = MS / 10 + rng.below(self.delay);
        let second = rng.chance(self.doubled);
        [
            Some(first),
            second.then(|| first + rng.below(20 * self.delay)),
        ]
    }

    /// No more loss and doubles.
    pub(crate) const fn become_clean(&mut self) {
        self.loss = 0;
        self.doubled = 0;
    }
}
