//! Statistics of times in microseconds, in rounds.

/// Times: a list for each round.
pub type Rounds = Vec<Vec<f64>>;

/// What is said about some times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The shortest.
    pub min: f64,
    /// The middle one.
    pub median: f64,
    /// Of a hundred, five are longer.
    pub p95: f64,
}

impl Summary {
    /// Of all rounds together; nothing, if nothing was measured.
    pub fn of(rounds: &Rounds) -> Option<Summary> {
        let mut times: Vec<f64> = rounds.concat();
        times.sort_unstable_by(f64::total_cmp);
        let (first, median) = (times.first()?, median(&times)?);
        // The nearest rank.
        let rank = (times.len() * 95).div_ceil(100);
        Some(Summary { min: *first, median, p95: times[rank - 1] })
    }
}

/// The middle one, or what lies between the middle two.
pub fn median(times: &[f64]) -> Option<f64> {
    let mut times = times.to_vec();
    times.sort_unstable_by(f64::total_cmp);
    let middle = times.len() / 2;
    match times.len() {
        0 => None,
        n if n % 2 == 1 => Some(times[middle]),
        _ => Some((times[middle - 1] + times[middle]) / 2.0),
    }
}

/// The median of each round.
pub fn medians(rounds: &Rounds) -> Vec<f64> {
    rounds.iter().filter_map(|round| median(round)).collect()
}

/// How many times as long as the base it took: the median of what the rounds say.
pub fn ratio(rounds: &Rounds, base: &Rounds) -> Option<f64> {
    let (ours, bases) = (medians(rounds), medians(base));
    let ratios: Vec<_> = ours.iter().zip(&bases).map(|(ours, base)| ours / base).collect();
    median(&ratios)
}

/// How much longer than the base it took: the median of what the rounds say.
pub fn more(rounds: &Rounds, base: &Rounds) -> Option<f64> {
    let (ours, bases) = (medians(rounds), medians(base));
    let more: Vec<_> = ours.iter().zip(&bases).map(|(ours, base)| ours - base).collect();
    median(&more)
}

/// How far the rounds' medians lie apart, as a part of their median: a quiet machine has a few
/// percent.
pub fn spread(rounds: &Rounds) -> Option<f64> {
    let medians = medians(rounds);
    let most = medians.iter().copied().reduce(f64::max)?;
    let least = medians.iter().copied().reduce(f64::min)?;
    Some((most - least) / median(&medians)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[9.0, 1.0, 5.0, 3.0]), Some(4.0));
    }

    #[test]
    fn a_summary_is_of_all_rounds() {
        let times: Vec<f64> = (1..=100).map(f64::from).rev().collect();
        let rounds = times.chunks(30).map(<[f64]>::to_vec).collect();
        let summary = Summary::of(&rounds);
        assert_eq!(summary, Some(Summary { min: 1.0, median: 50.5, p95: 95.0 }));
        assert_eq!(Summary::of(&vec![vec![7.0]]).map(|summary| summary.p95), Some(7.0));
        assert_eq!(Summary::of(&vec![vec![], vec![]]), None);
    }

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        // In the second round the machine was busy: for both.
        let base = vec![vec![10.0], vec![1000.0], vec![10.0]];
        let ours = vec![vec![20.0], vec![2000.0], vec![21.0]];
        assert_eq!(ratio(&ours, &base), Some(2.0));
        assert_eq!(ratio(&Vec::new(), &base), None);
    }

    #[test]
    fn a_spread_is_a_part_of_the_median() {
        assert_eq!(spread(&vec![vec![100.0], vec![90.0], vec![120.0]]), Some(0.3));
        assert_eq!(spread(&Vec::new()), None);
    }
}
