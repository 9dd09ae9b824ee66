use super::*;
use gearbox_core::x86::state::efer;

const RDMSR: &[u8] = &[0x0f, 0x32, 0xf4];
const WRMSR: &[u8] = &[0x0f, 0x30, 0xf4];

fn read(r: &mut Rig, index: u32) -> Option<u64> {
    r.state.gpr[1] = index.into();
    let o = r.run(RDMSR);
    match o.vector() {
        None => Some(o.state.gpr[2] << 32 | o.state.gpr[0]),
        v => {
            assert_eq!(v, Some(13));
            None
        }
    }
}
/// Writes, and goes on from the state after it.
fn write(r: &mut Rig, index: u32, value: u64) -> bool {
    r.state.gpr[1] = index.into();
    r.state.gpr[0] = value & 0xffff_ffff;
    r.state.gpr[2] = value >> 32;
    let o = r.run(WRMSR);
    let good = o.vector().is_none();
    if good {
        r.state = X86State { rip: CODE, activity: Default::default(), ..o.state };
    }
    good
}

#[test]
fn unknown_registers_fault() {
    let mut r = Rig::long();
    assert_eq!(read(&mut r, 0x4b56_4d00), None);
    assert!(!write(&mut r, 0x1234_5678, 0));
}

/// Xen writes them on an AMD processor, without asking.
#[test]
fn the_event_counters_of_amd_count_nothing() {
    for (vendor, expected) in [(b"AuthenticAMD", Some(0)), (b"GenuineIntel", None)] {
        let bench = Bench::by(vendor);
        let state = bench.long_mode();
        let mut r = Rig::with(bench, state, true);
        for index in 0xc001_0000..=0xc001_0007 {
            assert_eq!(write(&mut r, index, 0x53_0076), expected.is_some());
            assert_eq!(read(&mut r, index), expected);
        }
    }
}

#[test]
fn efer_is_guarded() {
    let mut r = Rig::long();
    let now = r.state.efer;
    assert_eq!(read(&mut r, 0xc000_0080), Some(now));
    assert!(!write(&mut r, 0xc000_0080, now & !efer::LME), "LME while paging");
    assert!(!write(&mut r, 0xc000_0080, now | 1 << 1));
    assert!(write(&mut r, 0xc000_0080, now & !(efer::SCE | efer::LMA)));
    assert_eq!(r.state.efer, now & !efer::SCE, "LMA is not for writing");
}

#[test]
fn addresses_must_be_canonical() {
    let mut r = Rig::long();
    for index in [0xc000_0082, 0xc000_0083, 0xc000_0100, 0xc000_0101, 0xc000_0102, 0x175, 0x176] {
        assert!(!write(&mut r, index, 1 << 57), "{index:#x}");
        assert!(write(&mut r, index, 0xffff_8000_0000_1234), "{index:#x}");
        assert_eq!(read(&mut r, index), Some(0xffff_8000_0000_1234), "{index:#x}");
    }
    assert_eq!(r.state.seg(Seg::Gs).base, 0xffff_8000_0000_1234);
}

#[test]
fn memory_type_registers_take_valid_types_only() {
    let mut r = Rig::long();
    assert_eq!(read(&mut r, 0xfe), Some(0x508));
    assert!(!write(&mut r, 0xfe, 0));
    assert_eq!(read(&mut r, 0x277), Some(0x0007_0406_0007_0406));
    assert!(write(&mut r, 0x277, 0x0407_0501_0007_0106));
    assert_eq!(read(&mut r, 0x277), Some(0x0407_0501_0007_0106));
    assert!(!write(&mut r, 0x277, 2));
    assert!(write(&mut r, 0x2ff, 0xc06));
    assert!(!write(&mut r, 0x2ff, 0xc02));
    assert!(!write(&mut r, 0x2ff, 0x1006));
    assert!(write(&mut r, 0x200, 0xc000_0000));
    assert!(write(&mut r, 0x201, 0xc000_0800));
    assert!(!write(&mut r, 0x201, 0xc000_0400));
    assert!(!write(&mut r, 0x250, 7));
}

#[test]
fn machine_check_banks() {
    let mut r = Rig::long();
    assert_eq!(read(&mut r, 0x179).map(|v| v & 0xff), Some(10));
    assert!(write(&mut r, 0x401, 0));
    assert!(!write(&mut r, 0x401, 1));
    assert_eq!(read(&mut r, 0x424), Some(u64::MAX));
    assert_eq!(read(&mut r, 0x428), None);
}

#[test]
fn the_time_stamp_counter_can_be_set() {
    let mut r = Rig::long();
    assert!(write(&mut r, 0x10, 1 << 40));
    // The machine clock stands still here.
    assert_eq!(read(&mut r, 0x10), Some(1 << 40));
}

#[test]
fn the_apic_base_moves_the_page_and_turns_off_the_cpuid_bit() {
    let mut r = Rig::long();
    assert_eq!(read(&mut r, 0x1b), Some(0xfee0_0900));
    assert!(!write(&mut r, 0x1b, 0xfee0_0901));
    assert!(write(&mut r, 0x1b, 0xfee0_0100));
    r.state.gpr[0] = 1;
    let o = r.run(&[0x0f, 0xa2, 0xf4]);
    assert_eq!(o.state.gpr[2] & 1 << 9, 0);
}

#[test]
fn x2apic_registers_are_msrs() {
    let mut r = Rig::long();
    assert_eq!(read(&mut r, 0x802), None, "in xAPIC mode");
    if r.bench_has_x2apic() {
        assert!(write(&mut r, 0x1b, 0xfee0_0d00));
        assert_eq!(read(&mut r, 0x803), Some(0x5_0014));
        assert!(!write(&mut r, 0x803, 0));
    } else {
        assert!(!write(&mut r, 0x1b, 0xfee0_0d00));
    }
}

#[test]
fn cpuid_shows_osxsave_only_when_it_is_on() {
    let mut r = Rig::long();
    r.state.gpr[0] = 1;
    let o = r.run(&[0x0f, 0xa2, 0xf4]);
    assert_eq!(o.state.gpr[1] & 1 << 27, 0);
}

impl Rig {
    fn bench_has_x2apic(&mut self) -> bool {
        self.state.gpr[0] = 1;
        self.run(&[0x0f, 0xa2, 0xf4]).state.gpr[1] & 1 << 21 != 0
    }
}
