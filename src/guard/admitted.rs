//! What was judged of a datagram, and the datagram as the worker sees it from then on.

use crate::guard::acl::Right;
use crate::net::PeerAddr;
use protocol::Dialect;

/// What was judged of a datagram that gets an answer. It borrows nothing, so that it can be kept while the datagram waits.
#[derive(Clone, Copy, Debug)]
pub struct Admission {
    /// Its id.
    pub request_id: u16,
    /// What it is written in.
    pub dialect: Dialect,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its commands are served.
    Serve {
        /// What they may do.
        rights: Right,
        /// Where they begin, in bytes from the start of the datagram.
        body_at: u16,
    },
    /// It is a request in the retired binary protocol, of somebody who may read data, and is told so.
    Binary {
        /// What its commands might have done.
        rights: Right,
    },
    /// It gets a challenge.
    Challenge {
        /// Whether it showed a cookie that is still good: then it may have a newer one at any time.
        is_renewal: bool,
    },
}

/// A datagram that is served: all that the commands know of it.
#[derive(Clone, Copy, Debug)]
pub struct Admitted<'a> {
    /// Whose it is, and who gets the reply.
    pub peer: &'a PeerAddr,
    /// Its id.
    pub request_id: u16,
    /// What it is written in.
    pub dialect: Dialect,
    /// What it may do.
    pub rights: Right,
    /// Its commands.
    pub body: &'a [u8],
}

impl Admission {
    /// The datagram of `peer` that this was judged of; `None` if it is not served.
    #[inline]
    pub fn admitted<'a>(&self, peer: &'a PeerAddr, datagram: &'a [u8]) -> Option<Admitted<'a>> {
        let Verdict::Serve { rights, body_at } = self.verdict else { return None };
        let Admission { request_id, dialect, .. } = *self;
        Some(Admitted { peer, request_id, dialect, rights, body: &datagram[body_at as usize..] })
    }
}

impl Admitted<'_> {
    /// Whether it may ask for what only administrators may.
    #[inline]
    pub fn is_admin(&self) -> bool {
        self.rights == Right::Admin
    }
}
