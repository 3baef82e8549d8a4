//! Which sequences go through the graph next.
//!
//! Identities take turns, whatever each of them asks for, and of one identity its requests, so that a large one does not hold up small
//! ones. Whose turn it is leads with its longest sequence; the batch is filled with others of about that length, first of the request that
//! leads, then of a request of each identity in turn, up to a number of tokens with padding counted: the runtime is slower per sequence
//! beyond it, and padding is work for nothing.

use super::encoder::Sequence;
use super::rows::Rows;
use super::worker::Reply;
use std::collections::VecDeque;
use std::sync::Arc;

/// Tokens of one batch, padding included: 8 × 128 runs faster per sequence than 32 × 128, and 32 × 16 faster than 8 × 16.
pub(super) const BATCH_TOKENS: usize = 1024;

/// Below this length padding costs less than another run.
const SHORT: usize = 32;

/// Requests under way. `T` is what waits for a request's vectors.
#[derive(Debug)]
pub(super) struct Queue<T> {
    rows: Rows,
    /// Who led longest ago first. None without a request.
    identities: VecDeque<(Arc<str>, VecDeque<Request<T>>)>,
    next: u64,
}

#[derive(Debug)]
struct Request<T> {
    number: u64,
    /// Shortest first, so that the longest is popped.
    waiting: Vec<(usize, Sequence)>,
    vectors: Vec<Option<Vec<f32>>>,
    waiter: T,
}

/// A sequence in a batch, and where its vector goes.
#[derive(Debug)]
pub(super) struct Place {
    request: u64,
    index: usize,
    pub(super) sequence: Sequence,
}

impl<T> Queue<T> {
    pub(super) const fn new(rows: Rows) -> Self {
        Self { rows, identities: VecDeque::new(), next: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.identities.is_empty()
    }

    /// Adds a request of at least one sequence, after the others of its identity.
    pub(super) fn push(&mut self, identity: &Arc<str>, sequences: Vec<Sequence>, waiter: T) {
        let vectors = vec![None; sequences.len()];
        let mut waiting: Vec<_> = sequences.into_iter().enumerate().collect();
        waiting.sort_by_key(|(_, sequence)| sequence.len());
        let request = Request { number: self.next, waiting, vectors, waiter };
        self.next = self.next.wrapping_add(1);
        match self.identities.iter_mut().find(|(name, _)| name == identity) {
            Some((_, requests)) => requests.push_back(request),
            None => self.identities.push_back((Arc::clone(identity), VecDeque::from([request]))),
        }
    }

    /// Forgets requests whose waiter `is_gone`.
    pub(super) fn forget(&mut self, is_gone: impl Fn(&T) -> bool) {
        self.identities.iter_mut().for_each(|(_, requests)| requests.retain(|request| !is_gone(&request.waiter)));
        self.identities.retain(|(_, requests)| !requests.is_empty());
    }

    /// The next batch; empty only where no request is under way.
    pub(super) fn batch(&mut self) -> Vec<Place> {
        let Some((leader, mut requests)) = self.identities.pop_front() else { return Vec::new() };
        let longest = requests.front().and_then(|request| request.waiting.last()).map_or(0, |(_, s)| s.len());
        let mut batch = Filling { places: Vec::new(), longest };
        if let Some(mut led) = requests.pop_front() {
            batch.take(&mut led);
            requests.push_back(led);
        }
        self.identities.push_back((leader, requests));
        let joined = match self.rows {
            Rows::OfAll => self.identities.len(),
            Rows::OfOne => 1,
        };
        // The one that led is last, and its request too.
        let mut places: Vec<_> = self.identities.iter_mut().rev().take(joined).map(|(_, all)| all.iter_mut()).collect();
        places.reverse();
        while !batch.is_full() && !places.is_empty() {
            places.retain_mut(|requests| requests.next().map(|request| batch.take(request)).is_some());
        }
        batch.places
    }

    /// Puts the vectors of a batch where they belong, and gives back the requests that are complete or failed. `replies` are
    /// those of [`by_request`], one each.
    pub(super) fn complete(&mut self, batch: &[Place], replies: Vec<Reply>) -> Vec<(T, Reply)> {
        let mut done = Vec::new();
        for (places, reply) in by_request(batch).zip(replies) {
            let Some(number) = places.first().map(|place| place.request) else { continue };
            let found = self.identities.iter_mut().find_map(|(_, requests)| {
                let at = requests.iter().position(|request| request.number == number)?;
                Some((requests, at))
            });
            let Some((requests, at)) = found else { continue };
            let Some(mut request) = requests.remove(at) else { continue };
            match reply {
                Err(refusal) => done.push((request.waiter, Err(refusal))),
                Ok(vectors) => {
                    for (place, vector) in places.iter().zip(vectors) {
                        if let Some(slot) = request.vectors.get_mut(place.index) {
                            *slot = Some(vector);
                        }
                    }
                    if request.vectors.iter().all(Option::is_some) {
                        done.push((request.waiter, Ok(request.vectors.into_iter().flatten().collect())));
                    } else {
                        requests.insert(at, request);
                    }
                }
            }
        }
        self.identities.retain(|(_, requests)| !requests.is_empty());
        done
    }
}

/// A batch that is being filled.
struct Filling {
    places: Vec<Place>,
    longest: usize,
}

impl Filling {
    fn is_full(&self) -> bool {
        self.places.len() >= (BATCH_TOKENS / self.longest.max(1)).max(1)
    }

    /// Takes what fits of a request; all of it stands together.
    fn take<T>(&mut self, request: &mut Request<T>) {
        let longest = self.longest;
        let fits = |len: usize| len <= longest && (longest <= SHORT || len.saturating_mul(2) >= longest);
        while !self.is_full() && request.waiting.last().is_some_and(|(_, s)| fits(s.len())) {
            let Some((index, sequence)) = request.waiting.pop() else { break };
            self.places.push(Place { request: request.number, index, sequence });
        }
    }
}

/// The places of each request in `batch`, in its order.
pub(super) fn by_request(batch: &[Place]) -> impl Iterator<Item = &[Place]> {
    // A batch is filled with one request after another.
    batch.chunk_by(|a, b| a.request == b.request)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::as_conversions)]

    use super::*;
    use crate::prompt::Prompt;
    use strongroom_wire::{Code, Refusal};

    /// Sequences of these lengths; the first token tells request and place.
    fn sequences(request: u32, lengths: &[usize]) -> Vec<Sequence> {
        let sequence = |(index, length): (u32, &usize)| {
            let mut ids = vec![0; *length];
            ids[0] = request * 1000 + index;
            Sequence { ids: Prompt::new(ids), segments: vec![0; *length] }
        };
        (0..).zip(lengths).map(sequence).collect()
    }

    /// Requests of one identity.
    fn queue(requests: &[&[usize]]) -> Queue<u32> {
        queue_of(Rows::OfAll, requests.iter().map(|lengths| ("a", *lengths)))
    }

    fn queue_of<'a>(rows: Rows, requests: impl Iterator<Item = (&'a str, &'a [usize])>) -> Queue<u32> {
        let mut queue = Queue::new(rows);
        for (number, (identity, lengths)) in (0..).zip(requests) {
            queue.push(&Arc::from(identity), sequences(number, lengths), number);
        }
        queue
    }

    /// A hundred requests of `a` and then as many of `b`, each of one short sequence: how many of each are in the first batch.
    fn shares(rows: Rows) -> (usize, usize) {
        let of = |identity| core::iter::repeat_n((identity, &[16][..]), 100);
        let batch = queue_of(rows, of("a").chain(of("b"))).batch();
        let first = batch.iter().filter(|place| place.request < 100).count();
        (first, batch.len() - first)
    }

    #[test]
    fn identity_with_one_request_has_its_turn_after_one_batch_of_another_with_many() {
        let many = core::iter::repeat_n(("a", &[512, 512][..]), 10);
        let order = |queue| drain(queue).1.iter().map(|(waiter, _)| *waiter).collect::<Vec<_>>();
        assert_eq!(order(queue_of(Rows::OfAll, many.clone().chain([("b", &[128][..])])))[..3], [0, 10, 1]);
        assert_eq!(order(queue_of(Rows::OfAll, many.chain([("a", &[128][..])])))[..3], [0, 1, 2]);
    }

    #[test]
    fn batch_is_of_all_identities_alike_and_of_one_where_the_graph_mixes_rows() {
        assert_eq!(shares(Rows::OfAll), (32, 32));
        assert_eq!(shares(Rows::OfOne), (64, 0));
    }

    fn first_token(place: &Place) -> f32 {
        u16::try_from(place.sequence.ids.expose()[0]).unwrap().into()
    }

    type Done = Vec<(u32, Vec<f32>)>;

    /// Runs everything through a graph that gives each sequence its first token back.
    fn drain(mut queue: Queue<u32>) -> (Vec<Vec<usize>>, Done) {
        let (mut batches, mut done) = (Vec::new(), Vec::new());
        while !queue.is_empty() {
            let batch = queue.batch();
            assert!(!batch.is_empty());
            batches.push(batch.iter().map(|place| place.sequence.len()).collect());
            let reply = |places: &[Place]| Ok(places.iter().map(|place| vec![first_token(place)]).collect());
            for (waiter, vectors) in queue.complete(&batch, by_request(&batch).map(reply).collect()) {
                done.push((waiter, vectors.unwrap().concat()));
            }
        }
        (batches, done)
    }

    #[test]
    fn vectors_come_back_in_the_order_of_the_inputs() {
        let lengths: Vec<usize> = (0..300).map(|n| 1 + (n * 37) % 512).collect();
        let (_, done) = drain(queue(&[&lengths, &[3, 400, 2]]));
        for (request, vectors) in done {
            let count = if request == 0 { 300u16 } else { 3 };
            let want: Vec<f32> = (0..count).map(|index| f32::from(index) + request as f32 * 1000.0).collect();
            assert_eq!(vectors, want);
        }
    }

    #[test]
    fn no_batch_has_more_tokens_than_the_cap_unless_it_is_one_sequence() {
        let lengths: Vec<usize> = (1..2048).step_by(13).collect();
        let (batches, _) = drain(queue(&[&lengths, &[16; 200]]));
        for batch in batches {
            let padded = batch.iter().max().unwrap() * batch.len();
            assert!(padded <= BATCH_TOKENS || batch.len() == 1, "{batch:?}");
        }
    }

    #[test]
    fn small_request_shares_the_next_batch_of_a_large_one_or_leads_the_one_after() {
        let (_, done) = drain(queue(&[&[128; 500], &[128], &[4]]));
        let order: Vec<u32> = done.iter().map(|(waiter, _)| *waiter).collect();
        assert_eq!(order, [1, 2, 0]);
    }

    #[test]
    fn sequences_of_one_length_fill_batches() {
        let (batches, _) = drain(queue(&[&[16; 32], &[16; 32]]));
        assert_eq!(batches, [vec![16; 64]]);
    }

    #[test]
    fn long_and_short_do_not_share_a_batch_and_short_ones_do() {
        let (batches, _) = drain(queue(&[&[128, 10, 3]]));
        assert_eq!(batches, [vec![128], vec![10, 3]]);
    }

    #[test]
    fn failure_of_a_request_s_places_ends_it_and_no_other() {
        let mut queue = queue(&[&[512, 512, 512], &[2]]);
        let batch = queue.batch();
        let done = queue.complete(&batch, vec![Err(Refusal::new(Code::RuntimeFailed, "graph"))]);
        assert!(matches!(&done[..], [(0, Err(refusal))] if refusal.code == Code::RuntimeFailed));
        let (_, done) = drain(queue);
        assert_eq!(done, [(1, vec![1000.0])]);
    }

    #[test]
    fn failure_of_one_request_of_a_batch_leaves_the_other_its_vectors() {
        let mut queue = queue(&[&[16], &[16]]);
        let batch = queue.batch();
        assert_eq!(by_request(&batch).count(), 2);
        let done = queue.complete(&batch, vec![Err(Refusal::new(Code::RuntimeFailed, "graph")), Ok(vec![vec![5.0]])]);
        let done = done.into_iter().map(|(waiter, reply)| (waiter, reply.map_err(|r| r.code))).collect::<Vec<_>>();
        assert_eq!(done, [(0, Err(Code::RuntimeFailed)), (1, Ok(vec![vec![5.0]]))]);
        assert!(queue.is_empty());
    }

    #[test]
    fn request_whose_waiter_is_gone_forgotten() {
        let mut queue = queue(&[&[5], &[6]]);
        queue.forget(|waiter| *waiter == 0);
        assert_eq!(drain(queue).1, [(1, vec![1000.0])]);
    }
}
