//! The mesh: a ring for requests and one for answers between every two workers, and who holds which end.
//!
//! ```text
//!            requests                      answers
//!   0 ──▶ 1        1 ──▶ 0        0 ◀── 1        1 ◀── 0        …
//! ```
//! What travels belongs to its sender and comes back to it, so a ring with room for all that a worker owns is never
//! full: room for the answer is there before the request is sent, and two workers cannot wait for each other.

use crate::ring::end::{Consumer, Full, Producer, ring};

/// One worker's ends.
#[derive(Debug)]
pub struct MeshEnd<T> {
    index: usize,
    /// Per other worker; `None` for oneself.
    links: Vec<Option<Link<T>>>,
}

#[derive(Debug)]
struct Link<T> {
    requests_out: Producer<T>,
    requests_in: Consumer<T>,
    answers_out: Producer<T>,
    answers_in: Consumer<T>,
}

/// The ends of `workers` workers, each of which owns at most `pending_max` of what travels.
pub fn mesh<T: Send>(workers: usize, pending_max: usize) -> Vec<MeshEnd<T>> {
    let mut ends: Vec<MeshEnd<T>> =
        (0..workers).map(|index| MeshEnd { index, links: (0..workers).map(|_| None).collect() }).collect();
    for a in 0..workers {
        for b in a + 1..workers {
            let (requests_ab, requests_at_b) = ring(pending_max);
            let (requests_ba, requests_at_a) = ring(pending_max);
            let (answers_ab, answers_at_b) = ring(pending_max);
            let (answers_ba, answers_at_a) = ring(pending_max);
            ends[a].links[b] = Some(Link {
                requests_out: requests_ab,
                requests_in: requests_at_a,
                answers_out: answers_ab,
                answers_in: answers_at_a,
            });
            ends[b].links[a] = Some(Link {
                requests_out: requests_ba,
                requests_in: requests_at_b,
                answers_out: answers_ba,
                answers_in: answers_at_b,
            });
        }
    }
    ends
}

impl<T: Send> MeshEnd<T> {
    /// Which worker this is.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Workers of the mesh.
    pub fn workers(&self) -> usize {
        self.links.len()
    }

    /// Sends a request to another worker.
    ///
    /// # Errors
    /// The request comes back when the ring is full.
    pub fn ask(&mut self, worker: usize, request: T) -> Result<(), Full<T>> {
        self.link(worker).requests_out.push(request)
    }

    /// Sends an answer to the worker that asked.
    ///
    /// # Errors
    /// The answer comes back when the ring is full, which means that more travels than its sender owns.
    pub fn answer(&mut self, worker: usize, answer: T) -> Result<(), Full<T>> {
        self.link(worker).answers_out.push(answer)
    }

    /// The next request of any worker, and whose it is.
    pub fn next_request(&mut self) -> Option<(usize, T)> {
        self.links
            .iter_mut()
            .enumerate()
            .find_map(|(from, link)| Some((from, link.as_mut()?.requests_in.pop()?)))
    }

    /// The next answer of any worker.
    pub fn next_answer(&mut self) -> Option<T> {
        self.links.iter_mut().flatten().find_map(|link| link.answers_in.pop())
    }

    /// Whether something came in.
    pub fn has_inbound(&self) -> bool {
        self.links.iter().flatten().any(|link| link.requests_in.waiting() + link.answers_in.waiting() > 0)
    }

    fn link(&mut self, worker: usize) -> &mut Link<T> {
        self.links[worker].as_mut().expect("a worker sends nothing to itself")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_arrive_and_answers_come_back() {
        let mut ends = mesh::<u32>(3, 2);
        ends[0].ask(2, 7).unwrap();
        ends[1].ask(2, 8).unwrap();
        ends[1].ask(2, 9).unwrap();
        assert_eq!(ends[1].ask(2, 10), Err(Full(10)));
        assert!(ends[2].has_inbound() && !ends[0].has_inbound());
        while let Some((from, request)) = ends[2].next_request() {
            ends[2].answer(from, request * 10).unwrap();
        }
        assert_eq!((ends[0].next_answer(), ends[0].next_answer()), (Some(70), None));
        assert_eq!((ends[1].next_answer(), ends[1].next_answer()), (Some(80), Some(90)));
    }
}
