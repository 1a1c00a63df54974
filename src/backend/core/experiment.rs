//! `core/experiment`: which variant of each experiment an account is given: equal shares, always the
//! same variant. In memory, no rows.

use super::Router;
use crate::backend::{
    node::Node,
    product::{Product, point},
    wire::{UpdatedAnswer, UpdatedAsk, Variant, VariantsAnswer, VariantsAsk},
};

/// Serves `core/experiment` on this node.
pub fn mount(node: &Node, router: &mut Router) {
    let config = node.config.clone();
    router.on_sync("/core/experiment/variants", move |ask: VariantsAsk| {
        Ok(VariantsAnswer { variants: variants(&config.settings.product, ask.account) })
    });
    let version = version(&node.config.settings.product);
    router.on_sync("/core/experiment/readlastupdated", move |_: UpdatedAsk| {
        Ok(UpdatedAnswer { version })
    });
}

fn variants(product: &Product, account: u64) -> Vec<Variant> {
    let mut all = Vec::new();
    for (experiment, names) in &product.experiments {
        let at = (point(experiment, account) * names.len() as f64) as usize;
        // An experiment without variants gives none.
        if let Some(name) = names.get(at) {
            all.push(Variant { experiment: experiment.clone(), variant: name.clone() });
        }
    }
    all
}

/// A number that changes with the experiments, and is the same on every node.
fn version(product: &Product) -> u64 {
    let names =
        product.experiments.iter().map(|(name, variants)| format!("{name}={}", variants.join(",")));
    (point(&names.collect::<Vec<_>>().join(";"), 0) * (1_u64 << 53) as f64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_account_has_one_variant_and_keeps_it() {
        let mut product = Product::default();
        let three = ["a", "b", "c"].map(str::to_owned).to_vec();
        product.experiments.insert("three".into(), three);
        product.experiments.insert("none".into(), Vec::new());
        let of = |account| {
            let found = variants(&product, account);
            assert_eq!(found, variants(&product, account));
            assert_eq!(found.len(), 2, "one without variants gives none");
            found[1].variant.clone()
        };
        for name in ["a", "b", "c"] {
            let count = (0..3_000).filter(|account| of(*account) == name).count();
            assert!((900..1_100).contains(&count), "{name}: {count}");
        }
        let before = version(&product);
        assert_eq!(before, version(&product.clone()));
        product.experiments.remove("three");
        assert_ne!(before, version(&product));
    }
}
