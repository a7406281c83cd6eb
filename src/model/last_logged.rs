//! What was logged last, so that what is retried is logged when it fails for the first time or in another way, and not
//! on every attempt. Pure: the caller logs.

/// What was logged last about one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastLogged<T = ()>(Option<T>);

impl<T> Default for LastLogged<T> {
    fn default() -> Self {
        LastLogged(None)
    }
}

impl<T: PartialEq + Clone> LastLogged<T> {
    /// Whether this is to be logged now: it is not what was logged last. It counts as logged from now on.
    #[must_use]
    pub fn is_news(&mut self, what: &T) -> bool {
        let is_news = self.0.as_ref() != Some(what);
        if is_news {
            self.0 = Some(what.clone());
        }
        is_news
    }

    /// It is over: what comes next is logged, also if it is the same.
    pub fn clear(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_news_once_until_it_changes_or_is_over() {
        let mut last = LastLogged::default();
        let mut logged = Vec::new();
        for attempt in ["a", "a", "b", "a", "a", "", "a", "a"] {
            match attempt {
                "" => last.clear(),
                error if last.is_news(&error) => logged.push(error),
                _ => {}
            }
        }
        assert_eq!(logged, ["a", "b", "a", "a"]);
    }

    #[test]
    fn a_fact_without_details_is_news_once() {
        let mut last = LastLogged::default();
        assert!(last.is_news(&()));
        assert!(!last.is_news(&()));
        last.clear();
        assert!(last.is_news(&()));
    }
}
