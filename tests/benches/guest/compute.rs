//! Integer and floating-point work, each written in the plain way.

use crate::{digest, machine};
use core::hint::black_box;

/// A small generator (xorshift64) for data to work on.
pub fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Counts the primes below 65536, a byte for each number.
pub fn sieve(rounds: u64) -> u64 {
    let composite = machine::arena::<u8>(65536);
    let mut primes = 0;
    for _ in 0..rounds {
        composite.fill(0);
        for i in 2..composite.len() {
            if composite[i] == 0 {
                primes += 1;
                let mut multiple = i * i;
                while multiple < composite.len() {
                    composite[multiple] = 1;
                    multiple += i;
                }
            }
        }
    }
    primes
}

/// A buffer of 16 KiB.
fn data() -> &'static mut [u8] {
    let (data, mut state) = (machine::arena::<u8>(16 << 10), 1);
    data.iter_mut().for_each(|b| *b = random(&mut state) as u8);
    data
}
/// MD5 of 16 KiB.
pub fn md5(rounds: u64) -> u64 {
    let data = data();
    (0..rounds).fold(0, |sum, _| {
        let digest = digest::md5(black_box(data));
        data[0] = digest[0];
        sum.wrapping_add(digest.iter().fold(0, |v, &b| v << 8 | u64::from(b)))
    })
}
/// CRC-32 of 16 KiB.
pub fn crc32(rounds: u64) -> u64 {
    let data = data();
    (0..rounds).fold(0, |sum, _| {
        let crc = digest::crc32(black_box(data));
        data[0] = crc as u8;
        sum.wrapping_add(crc.into())
    })
}

/// Fibonacci numbers by recursive calls.
pub fn fib(rounds: u64) -> u64 {
    #[inline(never)]
    fn f(n: u64) -> u64 {
        // Opaque, so that both calls are made.
        if n < 2 { n } else { black_box(f)(n - 1).wrapping_add(black_box(f)(n - 2)) }
    }
    (0..rounds).map(|_| f(black_box(22))).sum()
}

/// Sorts 4096 numbers with a comparison behind a function pointer.
pub fn quicksort(rounds: u64) -> u64 {
    type Less = fn(&u32, &u32) -> bool;
    fn sort(v: &mut [u32], less: Less) {
        if v.len() < 2 {
            return;
        }
        let last = v.len() - 1;
        v.swap(last / 2, last);
        let mut middle = 0;
        for i in 0..last {
            if less(&v[i], &v[last]) {
                v.swap(i, middle);
                middle += 1;
            }
        }
        v.swap(middle, last);
        let (low, high) = v.split_at_mut(middle);
        sort(low, less);
        sort(&mut high[1..], less);
    }
    let (v, mut state, mut sum) = (machine::arena::<u32>(4096), 1, 0u64);
    for _ in 0..rounds {
        v.iter_mut().for_each(|x| *x = random(&mut state) as u32);
        sort(v, black_box((|a, b| a < b) as Less));
        sum = sum.wrapping_mul(31).wrapping_add(v[0] as u64 + v[2048] as u64);
    }
    sum
}

/// Follows pointers through 1 MiB in random order: 65536 loads, each of which needs the one before.
pub fn chase(rounds: u64) -> u64 {
    const COUNT: usize = 65536;
    #[derive(Clone, Copy)]
    struct Node {
        next: u32,
        value: u32,
        _rest: u64,
    }
    let (nodes, mut state) = (machine::arena::<Node>(COUNT), 1);
    (0..COUNT).for_each(|i| nodes[i] = Node { next: i as u32, value: random(&mut state) as u32, _rest: 0 });
    // One cycle through all (Sattolo's shuffle).
    for i in (1..COUNT).rev() {
        let j = random(&mut state) as usize % i;
        (nodes[i].next, nodes[j].next) = (nodes[j].next, nodes[i].next);
    }
    let (mut at, mut sum) = (0, 0u64);
    for _ in 0..rounds * COUNT as u64 {
        let node = nodes[at as usize & (COUNT - 1)];
        sum = sum.wrapping_add(node.value.into());
        at = node.next;
    }
    sum
}

/// The product of two matrices of 48 × 48 doubles.
pub fn matrix(rounds: u64) -> u64 {
    const N: usize = 48;
    let all = machine::arena::<[[f64; N]; N]>(3);
    let [a, b, c] = all else { return 0 };
    for i in 0..N {
        for k in 0..N {
            a[i][k] = (i * 3 + k) as f64 * 0.25;
            b[i][k] = (i + k * 5) as f64 * 0.5;
        }
    }
    for _ in 0..rounds {
        for i in 0..N {
            for j in 0..N {
                let mut sum = 0.0;
                for k in 0..N {
                    sum += a[i][k] * b[k][j];
                }
                c[i][j] = sum;
            }
        }
        a[0][0] = c[N - 1][N - 1] * 1e-9;
    }
    c.iter().flatten().fold(0, |sum: u64, v| sum.rotate_left(1) ^ v.to_bits())
}
