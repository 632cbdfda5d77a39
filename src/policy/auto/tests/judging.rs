//! What moves brought, as plans say it.

use super::*;
use crate::cell::{JudgedMove, Payoff};

/// All that is judged within some seconds, with the seconds after which it was. `after_a_move` happens once.
fn judged_in(seconds: f64, scene: &mut Scene, after_a_move: fn(&mut Scene)) -> Vec<(f64, JudgedMove)> {
    let mut run = Run::new();
    let (mut judged, mut has_moved) = (Vec::new(), false);
    for round in 1..=(seconds / INTERVAL_S) as u32 {
        let plan = run.round(&scene.view());
        scene.carry_out(&plan);
        if !plan.moves.is_empty() && !std::mem::replace(&mut has_moved, true) {
            after_a_move(scene);
        }
        judged.extend(plan.judged.into_iter().map(|it| (f64::from(round) * INTERVAL_S, it)));
    }
    judged
}

#[test]
fn a_move_that_paid_is_judged_once_after_its_trial() {
    let mut scene = Scene::new(1.0, &[0.0; 2]).with(0, &[1.0; 2]);
    let judged = judged_in(30.0, &mut scene, |_| {});
    let [(_, it)] = judged.as_slice() else { panic!("{judged:?}") };
    assert_eq!((it.from, it.to, it.payoff, it.age_rounds), (NodeId(0), NodeId(1), Payoff::Gained, 4.0));
    assert!(it.used_cpus > 0.8 && (0.4..0.6).contains(&it.instead_cpus), "{it:?}");
}

#[test]
fn a_move_after_which_a_group_gets_less_than_before_is_a_loss() {
    let mut scene = Scene::new(1.0, &[0.0; 2]).with(0, &[1.0; 2]);
    // Both nodes are as bad, so that it stays.
    let judged = judged_in(30.0, &mut scene, |scene| (0..2).for_each(|node| scene.others(node, 0.9)));
    let [(_, it), ..] = judged.as_slice() else { panic!("nothing was judged") };
    assert_eq!(it.payoff, Payoff::Lost, "{judged:?}");
    assert!(it.used_cpus < 0.9 * it.instead_cpus, "{it:?}");
}

#[test]
fn where_nothing_moves_nothing_is_judged() {
    assert!(judged_in(30.0, &mut Scene::new(1.0, &[0.0; 2]).with(0, &[0.5]), |_| {}).is_empty());
}
