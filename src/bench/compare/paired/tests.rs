use rand::{RngExt, SeedableRng};

use super::*;

/// One cycle a round.
fn rounds(values: &[f64]) -> Turns {
    values.iter().map(|value| vec![Some(*value)]).collect()
}

fn near(one: f64, other: f64, within: f64) -> bool {
    (one - other).abs() <= within
}

#[test]
fn the_exact_distribution_gives_the_places_that_tables_give() {
    // The critical values of the two-sided signed-rank test at 5 % (Wilcoxon 1945; scipy.stats.wilcoxon):
    // the sum that is still rejected, so that so many plus one means of pairs lie outside, one less is the index.
    for (n, critical) in [
        (6, 0),
        (7, 2),
        (8, 3),
        (9, 5),
        (10, 8),
        (12, 13),
        (15, 25),
        (20, 52),
    ] {
        assert_eq!(outside(n), critical, "n = {n}");
    }
}

#[test]
fn wilcoxons_interval_of_ten_rounds_is_as_worked_out_by_hand() {
    // Logs 1 to 10: 55 means of pairs from 1 to 10; the 9th from each end.
    let logs: Vec<f64> = (1..=10).map(f64::from).collect();
    let means = means_of_pairs(&logs);
    assert_eq!(means.len(), 55);
    let told = by_wilcoxon(&logs);
    let ends = told.interval.unwrap();
    assert!(near(told.ratio.ln(), 5.5, 1e-9));
    // 1, 1.5, 2 2, 2.5 2.5, 3 3 3 | and the same from above.
    assert!(near(ends.low.ln(), 3.0, 1e-9) && near(ends.high.ln(), 8.0, 1e-9));
}

#[test]
fn students_interval_of_three_rounds_is_as_worked_out_by_hand() {
    let one = rounds(&[1.0_f64, 2.0, 3.0].map(f64::exp));
    let told = ratio(&one, &rounds(&[1.0; 3])).unwrap();
    assert_eq!(told.method, Method::StudentT);
    let ends = told.interval.unwrap();
    let reach = 4.303 / 3.0_f64.sqrt();
    assert!(near(told.ratio.ln(), 2.0, 1e-9));
    assert!(near(ends.low.ln(), 2.0 - reach, 1e-9) && near(ends.high.ln(), 2.0 + reach, 1e-9));
}

#[test]
fn the_method_follows_the_number_of_rounds() {
    let by = |n: usize| {
        let figures = rounds(&vec![2.0; n]);
        ratio(&figures, &figures).map(|told| (told.method, told.interval.is_some()))
    };
    assert_eq!(by(0), None);
    assert_eq!(by(1), Some((Method::OneRound, false)));
    assert_eq!(by(2), Some((Method::StudentT, true)));
    assert_eq!(by(5), Some((Method::StudentT, true)));
    assert_eq!(by(6), Some((Method::Wilcoxon, true)));
}

#[test]
fn what_happens_to_both_of_a_pair_does_not_show() {
    // The machine is slower each round; the one is always 10 % above the other.
    let other: Vec<f64> = (1..=8).map(|round| 100.0 / f64::from(round)).collect();
    let one: Vec<f64> = other.iter().map(|figure| figure * 1.1).collect();
    let told = ratio(&rounds(&one), &rounds(&other)).unwrap();
    assert!(near(told.ratio, 1.1, 1e-9));
    assert!(told.interval.unwrap().width() < 1e-9);
}

#[test]
fn one_disturbed_cycle_hardly_moves_a_round() {
    let calm = vec![[1.0, 1.01, 0.99, 1.0, 1.0].map(Some).to_vec()];
    let mut disturbed = calm.clone();
    disturbed[0][2] = Some(0.2);
    let other = vec![vec![Some(1.0); 5]];
    let [calm, disturbed] = [calm, disturbed].map(|one| ratio(&one, &other).unwrap().ratio);
    assert!(
        near(calm, 1.0, 0.01) && near(disturbed, 1.0, 0.02),
        "{disturbed}"
    );
}

#[test]
fn a_figure_of_zero_is_no_part_of_a_ratio() {
    let told = ratio(&rounds(&[0.0, 4.0]), &rounds(&[1.0, 2.0])).unwrap();
    assert!(near(told.ratio, 2.0, 1e-9));
    assert_eq!(told.method, Method::OneRound);
    assert_eq!(ratio(&rounds(&[1.0]), &rounds(&[0.0])), None);
}

#[test]
fn intervals_contain_their_ratio_and_cover_the_truth_about_as_often_as_they_say() {
    let mut random = rand::rngs::StdRng::seed_from_u64(42);
    for n in [3, 10] {
        let mut covered = 0;
        for _ in 0..1000 {
            // The sum of twelve is about normal; 5 % of scatter around a truth of 1.2.
            let mut noise = || {
                let sum: f64 = (0..12).map(|_| random.random_range(-0.5..0.5)).sum();
                (sum * 0.05).exp()
            };
            let one: Vec<f64> = (0..n).map(|_| 1.2 * noise()).collect();
            let other: Vec<f64> = (0..n).map(|_| noise()).collect();
            let told = ratio(&rounds(&one), &rounds(&other)).unwrap();
            let interval = told.interval.unwrap();
            assert!(interval.contains(told.ratio));
            covered += u32::from(interval.contains(1.2));
        }
        assert!(
            (920..=980).contains(&covered),
            "{n} rounds: {covered} of 1000"
        );
    }
}

#[test]
fn the_median_of_an_even_number_lies_between_the_middle_two() {
    assert!(near(median(&[4.0, 1.0, 3.0, 2.0]), 2.5, 1e-12));
    assert!(near(median(&[]), 0.0, 1e-12));
}
