//! The Mandelbrot set, in SSE2 doubles and in x87 arithmetic.

use core::arch::asm;
use core::arch::x86_64::*;

/// Pixels of a row, and rows.
const SIZE: u64 = 32;
/// Iterations after which a point counts as inside.
const LIMIT: u32 = 200;

/// Coordinates of a pixel.
fn point(x: u64, y: u64) -> (f64, f64) {
    let step = 3.0 / SIZE as f64;
    (x as f64 * step - 2.0, y as f64 * step - 1.5)
}

/// Two pixels at once.
pub fn sse2(rounds: u64) -> u64 {
    let mut sum = 0;
    for n in 0..rounds * SIZE * SIZE / 2 {
        let (x, y) = (n * 2 % SIZE, n * 2 / SIZE % SIZE);
        let ((r0, i0), (r1, i1)) = (point(x, y), point(x + 1, y));
        // SAFETY: SSE2 is part of x86-64.
        unsafe {
            let (cr, ci) = (_mm_set_pd(r0, r1), _mm_set_pd(i0, i1));
            let (mut re, mut im, mut count) = (_mm_setzero_pd(), _mm_setzero_pd(), _mm_setzero_pd());
            for _ in 0..LIMIT {
                let (re2, im2) = (_mm_mul_pd(re, re), _mm_mul_pd(im, im));
                let inside = _mm_cmple_pd(_mm_add_pd(re2, im2), _mm_set1_pd(4.0));
                if _mm_movemask_pd(inside) == 0 {
                    break;
                }
                count = _mm_add_pd(count, _mm_and_pd(inside, _mm_set1_pd(1.0)));
                let product = _mm_mul_pd(re, im);
                im = _mm_add_pd(_mm_add_pd(product, product), ci);
                re = _mm_add_pd(_mm_sub_pd(re2, im2), cr);
            }
            sum += _mm_cvtsd_f64(_mm_add_sd(count, _mm_unpackhi_pd(count, count))) as u64;
        }
    }
    sum
}

/// One pixel after the other.
pub fn x87(rounds: u64) -> u64 {
    const FOUR: f64 = 4.0;
    let mut sum = 0;
    for n in 0..rounds * SIZE * SIZE {
        let (cr, ci) = point(n % SIZE, n / SIZE % SIZE);
        let mut left = LIMIT;
        // SAFETY: reads three doubles; the x87 stack is empty before and after.
        unsafe {
            asm!(
                "fldz",
                "fldz",                     // re, im
                "2:",
                "fld st(0)",
                "fmul st(0), st(0)",
                "fld st(2)",
                "fmul st(0), st(0)",        // im², re², re, im
                "fld st(1)",
                "fadd st(0), st(1)",
                "fld qword ptr [{four}]",
                "fcomip st(0), st(1)",
                "fstp st(0)",
                "jb 3f",
                "fsubp st(1), st(0)",
                "fadd qword ptr [{cr}]",    // re', re, im
                "fxch st(2)",
                "fmulp st(1), st(0)",
                "fadd st(0), st(0)",
                "fadd qword ptr [{ci}]",    // im', re'
                "fxch st(1)",
                "dec {left:e}",
                "jnz 2b",
                "jmp 4f",
                "3:",
                "fstp st(0)",
                "fstp st(0)",
                "4:",
                "fstp st(0)",
                "fstp st(0)",
                left = inout(reg) left, four = in(reg) &FOUR, cr = in(reg) &cr, ci = in(reg) &ci,
                out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
                options(nostack),
            );
        }
        sum += u64::from(LIMIT - left);
    }
    sum
}
