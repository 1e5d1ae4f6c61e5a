//! Long lists, in parts: `?after=NAME&limit=N`.

use std::num::NonZeroUsize;

use super::super::problem::Problem;

/// Most entries of an answer, and how many it has where the client does not say: a list of 5,000
/// viewers is 600 kB.
pub(super) const MAX_LIMIT: usize = 1000;

/// Which part of a list.
pub(super) struct Paging {
    after: Option<String>,
    limit: usize,
}

impl Paging {
    /// # Errors
    /// A [`Problem`] where the query says something else, or the same twice.
    pub(super) fn read(query: Option<&str>) -> Result<Self, Problem> {
        let (mut after, mut limit) = (None, None);
        let pairs = query.unwrap_or_default().split('&');
        for pair in pairs.filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                // What is named has no other character that is written in two ways.
                Some(("after", name)) if after.is_none() => {
                    after = Some(name.replace("%2F", "/").replace("%2f", "/"));
                }
                Some(("limit", text)) if limit.is_none() => {
                    let number = text.parse().ok().map(NonZeroUsize::get);
                    limit = Some(number.filter(|n| *n <= MAX_LIMIT).ok_or_else(wrong)?);
                }
                _ => return Err(wrong()),
            }
        }
        let limit = limit.unwrap_or(MAX_LIMIT);
        Ok(Self { after, limit })
    }

    /// Whether it is the first part.
    pub(super) fn is_first(&self) -> bool {
        self.after.is_none()
    }

    /// This part of a list that is in the order of its names, each of which it has once; and the
    /// last name of it, where others follow. Who leaves or joins meanwhile moves nobody else to
    /// another part.
    pub(super) fn part<T>(
        &self,
        list: impl IntoIterator<Item = T>,
        name: impl Fn(&T) -> String,
    ) -> (Vec<T>, Option<String>) {
        let after = self.after.as_deref();
        let rest = list.into_iter();
        let mut rest = rest.skip_while(|one| after.is_some_and(|after| *name(one) <= *after));
        let part: Vec<T> = rest.by_ref().take(self.limit).collect();
        let more = rest.next().and_then(|_| part.last().map(name));
        (part, more)
    }
}

fn wrong() -> Problem {
    Problem::query(
        "?after= gives the `next` of the answer before, and limit= a number of entries from 1 to \
         1000.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_a_place_and_a_number_once_each() {
        let read = |query| Paging::read(query).map(|one| (one.after, one.limit)).ok();
        assert_eq!(read(None), Some((None, 1000)));
        assert_eq!(read(Some("")), Some((None, 1000)));
        let both = Some((Some("live/one".to_owned()), 20));
        assert_eq!(read(Some("after=live%2Fone&limit=20")), both);
        assert_eq!(read(Some("limit=20&after=live/one")), both);
        for bad in [
            "limit=0",
            "limit=1001",
            "limit=-1",
            "limit=",
            "limit",
            "limit=1&limit=2",
            "after=a&after=b",
            "page=2",
        ] {
            assert!(read(Some(bad)).is_none(), "{bad}");
        }
    }

    #[test]
    fn parts_have_everybody_once_also_where_the_last_one_of_a_part_has_left() {
        let mut all = vec!["a", "b", "c", "d", "e"];
        let mut seen = Vec::new();
        let mut query = "limit=2".to_owned();
        loop {
            let paging = Paging::read(Some(&query)).expect("a query");
            let (part, next) = paging.part(all.iter(), |one| one.to_string());
            seen.extend(part.into_iter().copied());
            let Some(next) = next else { break };
            all.retain(|one| *one != next);
            query = format!("limit=2&after={next}");
        }
        assert_eq!(seen, ["a", "b", "c", "d", "e"]);
        let whole = Paging::read(Some("limit=5")).expect("a query");
        assert_eq!(whole.part(0..5, usize::to_string).1, None);
    }
}
