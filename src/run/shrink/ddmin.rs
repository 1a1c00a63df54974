//! Delta debugging (Zeller and Hildebrandt, 2002) over a list: the smallest part of it that still
//! fails, in the sense that no single element can be left out.

/// The elements of `items` that are needed; `fails` says whether a part still fails. All of them
/// together are taken to fail. An error of `fails` ends the search.
pub fn minimise<T: Clone, E>(
    items: &[T],
    mut fails: impl FnMut(&[T]) -> Result<bool, E>,
) -> Result<Vec<T>, E> {
    let mut left = items.to_vec();
    // Nothing at all first: where it fails, that is all there is to know.
    if left.is_empty() || fails(&[])? {
        return Ok(Vec::new());
    }
    let mut parts = 2;
    while left.len() >= 2 {
        let size = left.len().div_ceil(parts);
        let starts: Vec<usize> = (0..left.len()).step_by(size).collect();
        let part = |start: usize| start..(start + size).min(left.len());
        let mut smaller = None;
        for start in &starts {
            let one = left[part(*start)].to_vec();
            if fails(&one)? {
                smaller = Some((one, 2));
                break;
            }
        }
        // With two parts, all but one of them is the other one.
        if smaller.is_none() && starts.len() > 2 {
            for start in &starts {
                let mut others = left.clone();
                others.drain(part(*start));
                if fails(&others)? {
                    smaller = Some((others, (parts - 1).max(2)));
                    break;
                }
            }
        }
        match smaller {
            Some((fewer, next)) => (left, parts) = (fewer, next),
            None if size == 1 => break,
            None => parts = (parts * 2).min(left.len()),
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// Fails where all of `needed` are there; tells how many parts were tried.
    fn shrunk(count: u32, needed: &[u32]) -> (Vec<u32>, u32) {
        let items: Vec<u32> = (0..count).collect();
        let mut tried = 0;
        let left = minimise(&items, |part| {
            tried += 1;
            Ok::<_, Infallible>(needed.iter().all(|n| part.contains(n)))
        });
        let Ok(left) = left;
        (left, tried)
    }

    #[test]
    fn what_is_needed_is_left_and_nothing_else() {
        for needed in [&[][..], &[0], &[9], &[3, 4], &[0, 9], &[1, 5, 8], &[0, 1, 2, 3, 4]] {
            assert_eq!(shrunk(10, needed).0, needed);
        }
        assert_eq!(shrunk(1, &[0]), (vec![0], 1));
        assert_eq!(shrunk(0, &[]), (Vec::new(), 0));
    }

    #[test]
    fn one_of_many_takes_few_tries() {
        let (left, tried) = shrunk(64, &[37]);
        assert_eq!(left, [37]);
        assert!(tried <= 13, "{tried} tries");
    }

    #[test]
    fn nothing_more_can_be_left_out_even_where_it_is_not_monotonous() {
        // Fails with an odd number of the even elements.
        let fails = |part: &[u32]| part.iter().filter(|n| *n % 2 == 0).count() % 2 == 1;
        let items: Vec<u32> = (0..9).collect();
        assert!(fails(&items));
        let Ok(left) = minimise(&items, |part| Ok::<_, Infallible>(fails(part)));
        assert!(fails(&left));
        for at in 0..left.len() {
            let mut fewer = left.clone();
            fewer.remove(at);
            assert!(!fails(&fewer), "{left:?} without {at}");
        }
    }

    #[test]
    fn an_error_ends_the_search() {
        assert_eq!(minimise(&[1, 2, 3], |_| Err("enough")), Err("enough"));
    }
}
