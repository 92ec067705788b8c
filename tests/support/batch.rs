//! Batch frames for tests: written by hand-sized calls, read into owned results.

use protocol::batch::{Code, FrameWriter, Operation, OperationResult, SealKey, Status};

/// A result of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    pub status: Status,
    pub client_flags: u32,
    pub cas: u64,
    pub value: Vec<u8>,
}

/// An operation with a key alone.
pub fn op(code: Code, key: &str) -> Operation<'_> {
    Operation::short(code, key.as_bytes())
}

/// A read.
pub fn get(key: &str) -> Operation<'_> {
    op(Code::Get, key)
}

/// A store for ever.
pub fn set<'a>(key: &'a str, value: &'a str) -> Operation<'a> {
    Operation { value: value.as_bytes(), ..op(Code::Set, key) }
}

/// The datagram of a frame with these operations.
pub fn frame(operations: &[Operation<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = FrameWriter::begin(1, &mut out);
    operations.iter().for_each(|operation| writer.put(operation, &mut out));
    writer.finish(&mut out);
    out
}

/// The same with a cookie.
pub fn with_cookie(cookie: u64, operations: &[Operation<'_>]) -> Vec<u8> {
    let mut out = frame(operations);
    FrameWriter::default().cookie(cookie, &mut out);
    out
}

/// The same with a seal.
pub fn sealed(
    key: &SealKey,
    (unix_ms, session, sequence): (u64, u64, u64),
    id: u16,
    key_read: &str,
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = FrameWriter::begin(id, &mut out).sealed(unix_ms, session, sequence, &mut out);
    writer.get(key_read.as_bytes(), &mut out);
    writer.finish(&mut out);
    key.stamp(&mut out);
    out
}

/// The results of a reply's body; what follows them must be padding.
pub fn results(mut body: &[u8]) -> Vec<Got> {
    let mut all = Vec::new();
    while let Some((OperationResult { status, client_flags, cas, value }, rest)) =
        OperationResult::split(body)
    {
        all.push(Got { status, client_flags, cas, value: value.to_vec() });
        body = rest;
    }
    let start = &body[..body.len().min(100)];
    assert!(body.iter().all(|&byte| byte == 0), "no results: {}", start.escape_ascii());
    all
}

/// Their statuses.
pub fn statuses(body: &[u8]) -> Vec<Status> {
    results(body).into_iter().map(|got| got.status).collect()
}
