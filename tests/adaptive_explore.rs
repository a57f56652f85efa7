//! Exploration, not kept.
#![allow(missing_docs, dead_code, unreachable_pub)]
mod queueing;
use queueing::*;
use steadfast::AdaptiveLimit;

#[test]
fn explore() {
    for c in [2usize, 3, 10, 50, 200, 1000] {
        for service in [Service::Constant(0.1), Service::Exponential(0.1), Service::LogNormal(0.1, 1.0)] {
            for init in [(c / 10).max(1), 2 * c, 20 * c] {
                let (mut lo, mut hi, mut bad, mut t10) = (usize::MAX, 0, 0, 0.0);
                let mut last = vec![];
                let (mut tlo, mut thi, mut tsum, mut n) = (usize::MAX, 0, 0, 0);
                let seeds = if c >= 200 { 2 } else { 10 };
                let mut outside = 0;
                for seed in 0..seeds {
                    let limit = build(AdaptiveLimit::new().initial(init).max(100_000));
                    let world = World { servers: c, service, load: Load::Saturated, timeout: f64::INFINITY, errors: 0.0 };
                    let mut m = Model::new(&limit, world, seed);
                    m.windows(10);
                    t10 += m.seconds() / seeds as f64;
                    let l = limit.limit();
                    lo = lo.min(l);
                    hi = hi.max(l);
                    if (l as f64) < c as f64 || l as f64 > 1.6 * c as f64 {
                        bad += 1;
                    }
                    last = m.trace.clone();
                    m.windows(if c >= 200 { 20 } else { 300 });
                    for l in &m.trace[10..] {
                        tlo = tlo.min(*l);
                        thi = thi.max(*l);
                        tsum += l;
                        n += 1;
                        if (*l as f64) < c as f64 || *l as f64 > 1.6 * c as f64 {
                            outside += 1;
                        }
                    }
                }
                println!(
                    "c {c} {service:?} init {init}: after 10: {lo}..{hi} bad {bad}/{seeds} t {t10:.1}s; later {tlo}..{thi} mean {:.1} outside {:.3}",
                    tsum as f64 / n as f64,
                    outside as f64 / n as f64
                );
            }
        }
    }
}

#[test]
fn explore_open() {
    for c in [2usize, 5, 10, 50, 200] {
        for service in [Service::Constant(0.1), Service::Exponential(0.1), Service::LogNormal(0.1, 1.0)] {
            for rho in [0.8, 0.9, 1.0, 1.2, 3.0] {
                let (mut good, mut lat, mut steady) = (0.0, 0.0, 0.0);
                let mut lims = vec![];
                let seeds = 3;
                for seed in 0..seeds {
                    let limit = build(AdaptiveLimit::new());
                    let world = World { servers: c, service, load: Load::Poisson(rho * c as f64 / 0.1), timeout: 1.0, errors: 0.0 };
                    let mut m = Model::new(&limit, world, seed);
                    let b1 = m.run(20.0);
                    let b = m.run(60.0);
                    good += b1.goodput() / seeds as f64;
                    steady += b.goodput() / seeds as f64;
                    lat += b.mean_latency() / seeds as f64;
                    lims.push(limit.limit());
                }
                println!(
                    "c {c} {service:?} rho {rho}: first {good:.4} steady {:.3} of best latency {lat:.3} limits {lims:?}",
                    steady * f64::max(rho, 1.0)
                );
            }
        }
    }
}

#[test]
fn explore_storm() {
    for seed in 0..6 {
        let limit = build(AdaptiveLimit::new());
        let mut world = World { servers: 10, service: Service::Exponential(0.1), load: Load::Poisson(80.0), timeout: 1.0, errors: 0.0 };
        let mut m = Model::new(&limit, world, seed);
        let a = m.run(30.0);
        let b = m.run(30.0);
        let l0 = limit.limit();
        world.load = Load::Poisson(240.0);
        m.world = world;
        let c = m.run(10.0);
        let tr: Vec<_> = m.trace[m.trace.len().saturating_sub(14)..].to_vec();
        world.load = Load::Poisson(80.0);
        m.world = world;
        let d = m.run(20.0);
        let e = m.run(60.0);
        println!(
            "{seed}: {:.4} {:.4} (limit {l0}) | {:.4} ({} timed out, {tr:?}) | {:.4} {:.4} limit {}",
            a.goodput(),
            b.goodput(),
            c.goodput(),
            c.timed_out,
            d.goodput(),
            e.goodput(),
            limit.limit()
        );
    }
}
#[test]
fn explore_trace() {
    let get = |k: &str, d: f64| std::env::var(k).ok().and_then(|v| v.parse().ok()).unwrap_or(d);
    let c = get("C", 10.0) as usize;
    let rho = get("RHO", 0.0);
    for seed in get("SEED", 0.0) as u64..get("SEED", 0.0) as u64 + get("SEEDS", 1.0) as u64 {
        let limit = build(AdaptiveLimit::new().initial(get("INIT", 20.0) as usize).max(100_000));
        let service = match get("SERVICE", 1.0) as u32 {
            0 => Service::Constant(0.1),
            1 => Service::Exponential(0.1),
            _ => Service::LogNormal(0.1, 1.0),
        };
        let load = if rho == 0.0 { Load::Saturated } else { Load::Poisson(rho * c as f64 / 0.1) };
        let mut m = Model::new(&limit, World { servers: c, service, load, timeout: get("TIMEOUT", f64::INFINITY), errors: 0.0 }, seed);
        for _ in 0..get("N", 60.0) as u64 {
            let before = limit.limit();
            let b = m.windows(1);
            let s = limit.snapshot();
            println!(
                "@{:.1} {before} -> {} base {:.3} rtt {:.3} good {:.3} {}",
                m.seconds(),
                s.limit,
                s.baseline.unwrap_or_default().as_secs_f64(),
                s.latency.unwrap_or_default().as_secs_f64(),
                b.goodput(),
                b.good
            );
        }
    }
}
#[test]
fn look_storm() {
    let seed = std::env::var("SEED").unwrap().parse().unwrap();
    let limit = build(AdaptiveLimit::new());
    let mut world = World { servers: 10, service: Service::Exponential(0.1), load: Load::Poisson(80.0), timeout: 1.0, errors: 0.0 };
    let mut m = Model::new(&limit, world, seed);
    m.run(57.0);
    for i in 0..50 {
        if m.seconds() > 60.0 && i < 49 {
            world.load = Load::Poisson(240.0);
            m.world = world;
        }
        let before = limit.limit();
        let b = m.windows(1);
        let s = limit.snapshot();
        println!(
            "@{:.1} {before} -> {} base {:.3} rtt {:.3} good {:.3} {}",
            m.seconds(),
            s.limit,
            s.baseline.unwrap_or_default().as_secs_f64(),
            s.latency.unwrap_or_default().as_secs_f64(),
            b.goodput(),
            b.good
        );
        if m.seconds() > 70.0 {
            break;
        }
    }
}
#[test]
fn many80() {
    for c in [3usize, 10, 30] {
        let mut v = vec![];
        let mut lim = vec![];
        let mut lat = 0.0;
        for seed in 0..20 {
            let limit = build(AdaptiveLimit::new());
            let world =
                World { servers: c, service: Service::Exponential(0.1), load: Load::Poisson(8.0 * c as f64), timeout: 1.0, errors: 0.0 };
            let mut m = Model::new(&limit, world, seed);
            m.run(10.0);
            let b = m.run(120.0);
            v.push(b.goodput());
            lat += b.mean_latency() / 20.0;
            m.trace.sort();
            lim.push(m.trace[m.trace.len() / 2]);
        }
        let mean = v.iter().sum::<f64>() / 20.0;
        v.sort_by(f64::total_cmp);
        println!("% c {c}: mean {mean:.4} worst {:.4} {:.4} {:.4} lat {lat:.3} {lim:?}", v[0], v[1], v[2]);
    }
    let mut v = vec![];
    let mut w = vec![];
    for seed in 0..20 {
        let limit = build(AdaptiveLimit::new());
        let mut world = World { servers: 10, service: Service::Exponential(0.1), load: Load::Poisson(80.0), timeout: 1.0, errors: 0.0 };
        let mut m = Model::new(&limit, world, seed);
        m.run(60.0);
        world.load = Load::Poisson(240.0);
        m.world = world;
        let c = m.run(10.0);
        v.push(c.good as f64 / 1000.0);
        world.load = Load::Poisson(80.0);
        m.world = world;
        let d = m.run(20.0);
        w.push(d.goodput());
    }
    let mean = v.iter().sum::<f64>() / 20.0;
    let wm = w.iter().sum::<f64>() / 20.0;
    v.sort_by(f64::total_cmp);
    w.sort_by(f64::total_cmp);
    println!(
        "% storm: share of capacity mean {mean:.4} worst {:.4} {:.4} {:.4}; after {wm:.4} worst {:.4} {:.4}",
        v[0], v[1], v[2], w[0], w[1]
    );
}
#[test]
fn dynamic() {
    let world0 = World { servers: 10, service: Service::Exponential(0.1), load: Load::Saturated, timeout: 3.0, errors: 0.0 };
    let changes: [(&str, World); 7] = [
        ("halved", World { servers: 5, ..world0 }),
        ("doubled", World { servers: 20, ..world0 }),
        ("x3", World { service: Service::Exponential(0.3), ..world0 }),
        ("/3", World { service: Service::Exponential(0.0333), ..world0 }),
        ("errors", World { errors: 0.5, ..world0 }),
        ("x10", World { servers: 100, ..world0 }),
        ("none", World { servers: 0, ..world0 }),
    ];
    for load in [Load::Saturated, Load::Poisson(200.0), Load::Poisson(60.0)] {
        for (name, change) in changes {
            for seed in 0..3 {
                let limit = build(AdaptiveLimit::new());
                let w0 = World { load, ..world0 };
                let mut m = Model::new(&limit, w0, seed);
                m.run(60.0);
                let before = limit.limit();
                m.world = World { load, ..change };
                let at = m.seconds();
                let n = m.trace.len();
                for _ in 0..60 {
                    m.run(1.0);
                }
                let tr: Vec<_> = m.trace[n..].iter().take(40).copied().collect();
                let t = m.seconds() - at;
                m.world = w0;
                let n = m.trace.len();
                let b = m.run(20.0);
                let c = m.run(20.0);
                println!(
                    "% {load:?} {name} {before} -> {tr:?} in {t:.0} then {:?} good {} {}",
                    m.trace[n..].iter().take(20).collect::<Vec<_>>(),
                    b.good,
                    c.good
                );
            }
        }
    }
}
#[test]
fn many_callers() {
    for (k, c) in [(2, 20), (4, 40), (10, 100)] {
        for service in [Service::Constant(0.1), Service::Exponential(0.1)] {
            let limits: Vec<_> = (0..k).map(|_| build(AdaptiveLimit::new())).collect();
            let mut m = Model::shared(
                limits.iter().collect(),
                World { servers: c, service, load: Load::Saturated, timeout: f64::INFINITY, errors: 0.0 },
                1,
            );
            for t in 0..8 {
                m.run(if t == 0 { 20.0 } else { 100.0 });
                let l: Vec<_> = limits.iter().map(|l| l.limit()).collect();
                println!("% {k} callers c {c} {service:?} after {:.0} s: {} {l:?}", m.seconds(), l.iter().sum::<usize>());
            }
        }
    }
}
