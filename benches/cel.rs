//! The cost of conditions on objects: to compile, to bind to an object, to evaluate, and to explain.
//!
//! `cargo bench --bench cel`. The expressions are in `cel_expressions.txt`, the object in `cel_object.json`; both are those
//! of `cargo lab bench fixtures`.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use kina_engine::CelExpression;

const EXPRESSIONS: &str = include_str!("cel_expressions.txt");
const OBJECT: &str = include_str!("cel_object.json");

fn cel(criterion: &mut Criterion) {
    let object: serde_json::Value = serde_json::from_str(OBJECT).expect("JSON");
    let lines = EXPRESSIONS.lines().filter(|line| !line.starts_with('#'));
    for (name, text) in lines.filter_map(|line| line.split_once(": ")) {
        let expression = CelExpression::compile(text).expect("a condition");
        let bound = expression.bind(&object);
        assert_eq!(bound.evaluate(), Ok(true), "{name} is true of the object, or ends early");
        let mut group = criterion.benchmark_group(format!("cel {name}"));
        group.bench_function("compile", |bencher| bencher.iter(|| CelExpression::compile(black_box(text))));
        group.bench_function("bind", |bencher| bencher.iter(|| black_box(&expression).bind(black_box(&object))));
        group.bench_function("evaluate", |bencher| bencher.iter(|| black_box(&bound).evaluate()));
        group.bench_function("explain", |bencher| bencher.iter(|| black_box(&expression).explain(black_box(&object))));
        group.finish();
    }
}

criterion_group!(benches, cel);
criterion_main!(benches);
