mod requests;

use super::*;
use crate::mem::{AddressSpace, DirtyClient, MemTree, RamBlock};
use parking_lot::{Condvar, Mutex};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A directory for images.
struct Dir(PathBuf);
impl Dir {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let n = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("gearbox-block-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
        path
    }
}
impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn raw(path: &Path) -> ImageOptions {
    ImageOptions { format: Some(Format::Raw), ..ImageOptions::new(path) }
}
/// `qemu-img` with these arguments; false, with a line that says so, where there is none.
fn qemu_img(args: &[&str]) -> bool {
    match Command::new("qemu-img").args(args).output() {
        Ok(out) => {
            assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
            true
        }
        Err(e) => {
            println!("skipped: qemu-img (package qemu-utils): {e}");
            false
        }
    }
}

/// A user of a back end that waits for what it asked for.
struct User {
    drive: Arc<BlockBackend>,
    failures: Arc<Mutex<Vec<IoFailure>>>,
    ready: Arc<(Mutex<()>, Condvar)>,
}
impl User {
    fn new(drive: Arc<BlockBackend>, memory: Arc<AddressSpace>) -> Self {
        let (failures, ready) = (Arc::new(Mutex::new(Vec::new())), Arc::new((Mutex::new(()), Condvar::new())));
        let (f, r) = (failures.clone(), ready.clone());
        let client = BlockClient {
            device: "user".into(),
            memory,
            ready: Box::new(move || {
                let _ready = r.0.lock();
                r.1.notify_all();
            }),
            failed: Box::new(move |failure| f.lock().push(failure.clone())),
        };
        drive.attach(client, Media::default()).unwrap();
        Self { drive, failures, ready }
    }
    fn wait(&self) -> Completion {
        let mut ready = self.ready.0.lock();
        loop {
            // A call may be about a completion that has been cancelled since.
            if let Some(completion) = self.drive.completed() {
                return completion;
            }
            self.ready.1.wait(&mut ready);
        }
    }
    fn ask(&self, request: Request) -> Completion {
        self.drive.submit(request);
        self.wait()
    }
}

fn drive(blocks: &Blocks, medium: Option<Arc<Node>>, on_error: (OnError, OnError)) -> Arc<BlockBackend> {
    let place = DrivePlace { interface: Interface::None, bus: 0, unit: 0 };
    blocks.add_drive("d", place, DriveMedia::Disk, medium, on_error).unwrap()
}
const REPORT: (OnError, OnError) = (OnError::Report, OnError::Report);

#[test]
fn readonly_snapshot_and_odd_sizes() {
    let dir = Dir::new();
    let path = dir.file("a", &[1; 700]);
    let ro = Node::open("n", "file", &ImageOptions { read_only: true, ..raw(&path) }).unwrap();
    assert_eq!((ro.size(), ro.write(0, &[0; 512])), (1024, Err(IoError::ReadOnly)));
    let mut end = [9; 512];
    ro.read(512, &mut end).unwrap();
    assert!(end[..188] == [1; 188] && end[188..] == [0; 324]);
    let overlay = Node::open("o", "file", &ImageOptions { snapshot: true, ..raw(&path) }).unwrap();
    overlay.write(0, &[5; 1024]).unwrap();
    overlay.flush().unwrap();
    let mut now = [0; 1024];
    overlay.read(0, &mut now).unwrap();
    assert!(now == [5; 1024] && std::fs::read(&path).unwrap() == [1; 700]);
    drop((ro, overlay));
    let rw = Node::open("w", "file", &raw(&path)).unwrap();
    rw.write(512, &[8; 512]).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 1024);
}

#[test]
fn writers_exclude_one_another() {
    let dir = Dir::new();
    let path = dir.file("a", &[0; 1024]);
    let ro = || ImageOptions { read_only: true, ..raw(&path) };
    let writer = Node::open("w", "file", &raw(&path)).unwrap();
    for options in [raw(&path), ro()] {
        let error = Node::open("x", "file", &options).unwrap_err().to_string();
        assert!(error.contains("lock\nIs another process using the image ["), "{error}");
    }
    assert!(Node::open("x", "file", &ImageOptions { locking: false, ..ro() }).is_ok());
    drop(writer);
    let _readers = [Node::open("a", "file", &ro()).unwrap(), Node::open("b", "file", &ro()).unwrap()];
    assert!(Node::open("w", "file", &raw(&path)).is_err());
}

#[test]
fn formats_are_recognised_and_raw_stays_raw() {
    let dir = Dir::new();
    let path = dir.file("a", &[0; 2048]);
    let node = Node::open("n", "file", &ImageOptions::new(&path)).unwrap();
    assert_eq!(node.info().format, Format::Raw);
    assert_eq!(node.write(0, b"QFI\xfb\0\0\0\x03"), Err(IoError::ReadOnly));
    assert_eq!(node.write(0, b"KD"), Ok(()));
    assert_eq!(node.write(2, b"MV"), Err(IoError::ReadOnly));
    assert_eq!(node.write(512, b"QFI\xfb"), Ok(()));
    let vmdk = dir.file("b", b"KDMV\x01\0\0\0");
    let error = Node::open("n", "file", &ImageOptions::new(&vmdk)).unwrap_err().to_string();
    assert!(error.contains("format vmdk") && error.contains("qemu-img convert"), "{error}");
    let error = Node::open("n", "file", &ImageOptions::new(dir.0.join("none"))).unwrap_err().to_string();
    assert!(error.ends_with("none': No such file or directory"), "{error}");
    assert!(Node::open("n", "file", &ImageOptions::new(&dir.0)).is_err());
}

#[test]
fn qcow2_with_a_backing_file() {
    let dir = Dir::new();
    let base = dir.file("base.raw", &[3; 1 << 20]);
    let top = dir.0.join("top.qcow2");
    let (top, base) = (top.to_str().unwrap(), base.to_str().unwrap());
    if !qemu_img(&["create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, top, "2M"]) {
        return;
    }
    let node = Node::open("n", "file", &ImageOptions { unmap: true, ..ImageOptions::new(top) }).unwrap();
    assert_eq!((node.info().format, node.size()), (Format::Qcow2, 2 << 20));
    assert_eq!(node.info().backing, [BackingFile { filename: base.into(), format: Format::Raw }]);
    let mut data = [0; 1024];
    node.read((1 << 20) - 512, &mut data).unwrap();
    assert!(data[..512] == [3; 512] && data[512..] == [0; 512]);
    node.write(70_000, &[6; 1000]).unwrap();
    node.write_zeroes(0, 65536, true).unwrap();
    node.discard(131_072, 65536).unwrap();
    node.flush().unwrap();
    node.resize(3 << 20).unwrap();
    drop(node);
    assert!(qemu_img(&["check", "-q", top]));
    let flat = dir.0.join("flat");
    assert!(qemu_img(&["convert", "-O", "raw", top, flat.to_str().unwrap()]));
    let flat = std::fs::read(flat).unwrap();
    assert_eq!((flat.len(), flat[0], flat[65536], flat[70_000], flat[71_000]), (3 << 20, 0, 3, 6, 3));
}

#[test]
fn hostile_images_are_refused() {
    let dir = Dir::new();
    let top = dir.0.join("loop.qcow2");
    let name = top.to_str().unwrap();
    if !qemu_img(&["create", "-q", "-f", "qcow2", name, "1M"])
        || !qemu_img(&["rebase", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", name, name])
    {
        return;
    }
    let error =
        Node::open("n", "file", &ImageOptions { locking: false, ..ImageOptions::new(name) }).unwrap_err().to_string();
    assert!(error.contains("refers to itself"), "{error}");
    // Every byte of the header and of the first tables, one at a time: an error or an image, and never more.
    let good = dir.0.join("good.qcow2");
    assert!(qemu_img(&["create", "-q", "-f", "qcow2", good.to_str().unwrap(), "1M"]));
    let bytes = std::fs::read(&good).unwrap();
    let ends = (0..112).chain((0..bytes.len()).step_by(65536).flat_map(|n| n..n + 8));
    for (n, at) in ends.filter(|&at| at < bytes.len()).enumerate() {
        let mut bad = bytes.clone();
        bad[at] ^= if n % 2 == 0 { 0xff } else { 0x81 };
        let path = dir.file("bad", &bad);
        let options = ImageOptions { format: Some(Format::Qcow2), ..ImageOptions::new(path) };
        if let Ok(node) = Node::open("n", "file", &options) {
            let mut data = [0; 512];
            let _ = (node.read(0, &mut data), node.write(4096, &data), node.flush());
        }
    }
}

/// An empty qcow2 image whose header says that it is so large.
fn claiming(dir: &Dir, size: u64) -> PathBuf {
    let path = dir.0.join("large");
    create(&path, Format::Qcow2, 1 << 20).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[24..32].copy_from_slice(&size.to_be_bytes());
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_qcow2_image_larger_than_its_tables_is_not_written() {
    let dir = Dir::new();
    let error = Node::open("n", "file", &ImageOptions::new(claiming(&dir, 1 << 62))).unwrap_err().to_string();
    assert!(error.contains("L1 table is too small"), "{error}");
}

#[test]
fn a_qcow2_image_larger_than_any_file_is_not_opened() {
    let dir = Dir::new();
    let path = claiming(&dir, u64::MAX);
    // Its tables are of no interest where they are not written.
    for (read_only, snapshot) in [(true, false), (false, true)] {
        let options = ImageOptions { read_only, snapshot, ..ImageOptions::new(&path) };
        assert_eq!(Node::open("n", "file", &options).unwrap_err().reason, "the image is too large");
    }
}

#[test]
fn an_enormous_qcow2_image_shrinks_in_steps() {
    let dir = Dir::new();
    let path = dir.0.join("enormous");
    create(&path, Format::Qcow2, 8 << 40).unwrap();
    for snapshot in [false, true] {
        let node = Node::open("n", "file", &ImageOptions { snapshot, ..ImageOptions::new(&path) }).unwrap();
        let error = node.resize(1 << 20).unwrap_err().to_string();
        assert!(error.contains("shrinks by"), "{error}");
        node.resize((8 << 40) - (1 << 30)).unwrap();
    }
}

#[test]
fn tables_of_reference_counts_that_lead_nowhere_are_refused() {
    let dir = Dir::new();
    let good = dir.0.join("good.qcow2");
    if !qemu_img(&["create", "-q", "-f", "qcow2", good.to_str().unwrap(), "1M"]) {
        return;
    }
    let bytes = std::fs::read(&good).unwrap();
    let table = u64::from_be_bytes(bytes[48..56].try_into().unwrap()) as usize;
    let first = bytes[table..table + 8].to_vec();
    let open = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bad = bytes.clone();
        change(&mut bad);
        let options = ImageOptions { format: Some(Format::Qcow2), ..ImageOptions::new(dir.file("bad", &bad)) };
        Node::open("n", "file", &options).map(drop).map_err(|e| e.reason)
    };
    let names = |block: &str| Err(format!("the image is corrupt: its table of reference counts names {block}"));
    assert_eq!(open(&|_| {}), Ok(()));
    assert_eq!(open(&|b| b[table + 8..table + 16].copy_from_slice(&first)), names("0x20000"));
    assert_eq!(open(&|b| b[table + 8] = 1), names("0x100000000000000"));
    let headless = Err("the image is corrupt: its header has no reference count".to_owned());
    assert_eq!(open(&|b| b[table..table + 8].fill(0)), headless);
    assert_eq!(open(&|b| b[0x2_0000..0x2_0002].fill(0)), headless);
    let large = Err("the image is corrupt: its table of reference counts is too large".to_owned());
    assert_eq!(open(&|b| b[56..60].fill(0xff)), large);
}

/// A qcow2 image whose first cluster is not where a cluster can be.
fn broken_qcow2() -> Vec<u8> {
    let mut image = vec![0; 3 << 16];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb\0\0\0\x02");
    put(20, &16u32.to_be_bytes()); // cluster bits
    put(24, &(1u64 << 20).to_be_bytes()); // size
    put(36, &1u32.to_be_bytes()); // entries of the first table
    put(40, &0x1_0000u64.to_be_bytes()); // where it is
    put(48, &0x2_0000u64.to_be_bytes()); // the table of reference counts
    put(56, &1u32.to_be_bytes()); // its clusters
    put(0x1_0000, &0x8000_0000_0002_0000u64.to_be_bytes());
    put(0x2_0000, &0x8000_0000_0003_0200u64.to_be_bytes());
    image
}

#[test]
fn errors_go_to_the_guest_or_stop_the_machine() {
    let dir = Dir::new();
    let (bad, good) = (dir.file("bad", &broken_qcow2()), dir.file("good", &[4; 4096]));
    let other = dir.file("other", &[5; 4096]);
    for on_error in OnError::ALL.iter().copied() {
        let blocks = Blocks::default();
        let medium = blocks.open(Some("bad"), &ImageOptions { read_only: true, ..ImageOptions::new(&bad) }).unwrap();
        let u = User::new(drive(&blocks, Some(medium), (on_error, OnError::Report)), Arc::default());
        u.drive.submit(Request::read(1, 0, 512));
        u.drive.drain();
        let failure = u.failures.lock().pop().expect("it failed");
        assert_eq!((&*failure.device, &*failure.node, failure.operation), ("d", "bad", Operation::Read));
        match on_error {
            OnError::Report | OnError::Enospc => {
                assert!(matches!(u.wait().result, Err(IoError::Host(_))) && failure.action == OnError::Report);
            }
            OnError::Ignore => assert_eq!(u.wait().result, Ok(())),
            OnError::Stop => {
                assert!(u.drive.completed().is_none());
                // What is to be tried again is saved, and tried by whoever has the state then.
                let state = u.drive.save().expect("nothing is under way");
                let others = Blocks::default();
                let medium = others.open(None, &raw(&other)).unwrap();
                let heir = User::new(drive(&others, Some(medium), (on_error, OnError::Report)), Arc::default());
                heir.drive.load(&state);
                heir.drive.resume();
                assert_eq!(heir.wait().data, vec![5; 512]);
                u.drive.set_medium(Some(blocks.open(None, &raw(&good)).unwrap()));
                blocks.resume();
                let c = u.wait();
                assert_eq!((c.tag, c.result, c.data), (1, Ok(()), vec![4; 512]));
            }
        }
        // What was asked for before is not heard of any more.
        u.drive.submit(Request::read(2, 0, 512));
        u.drive.cancel();
        u.drive.drain();
        assert!(u.drive.completed().is_none());
        assert_eq!(u.ask(Request::flush(3)).tag, 3);
    }
}

#[test]
fn drives_have_names_and_places() {
    let blocks = Blocks::default();
    let at = |unit| DrivePlace { interface: Interface::Ide, bus: 1, unit };
    let add = |name: &str, place| blocks.add_drive(name, place, DriveMedia::Cdrom, None, REPORT);
    add("a", at(0)).unwrap();
    assert!(matches!(add("a", at(1)), Err(BlockError::DuplicateDrive(_))));
    assert_eq!(add("b", at(0)).unwrap_err().to_string(), "drive with bus=1, unit=0 (index=2) exists");
    let wanted = WantedPlace { bus: Some(1), ..WantedPlace::default() };
    assert_eq!(blocks.place(Interface::Ide, wanted), Ok(at(1)));
    assert_eq!((blocks.at(at(0)).unwrap().1, blocks.places(Interface::Ide)), (DriveMedia::Cdrom, vec![at(0)]));
    assert_eq!(blocks.drive("aa").unwrap_err().to_string(), "can't find value 'aa'");
    let dir = Dir::new();
    let path = dir.file("a", &[0; 512]);
    blocks.add_node("n", &raw(&path)).unwrap();
    let drive = blocks.drive("n").unwrap();
    assert_eq!(drive.medium().unwrap().name(), "n");
    assert_eq!(blocks.remove_node("n"), Err(BlockError::InUse("n".into())));
    drop(drive);
    assert_eq!((blocks.remove_node("n"), blocks.remove_node("n")), (Ok(()), Err(BlockError::NoNode("n".into()))));
    let info = blocks.list();
    assert!(info.len() == 1 && info[0].name == "a" && info[0].inserted.is_none() && info[0].removable);
}

#[test]
fn a_file_is_a_node_for_one_user() {
    let dir = Dir::new();
    let path = dir.file("a", &[7; 1024]);
    let blocks = Blocks::default();
    blocks.add_file("f", &raw(&path)).unwrap();
    assert_eq!(blocks.add_file("f", &raw(&path)), Err(BlockError::DuplicateNode("f".into())));
    assert!(blocks.add_file("g", &raw(&dir.0.join("none"))).is_err());
    let on = |name: &str, file: &str| blocks.add_node_on(name, file, &raw(&path));
    assert_eq!(on("x", "h").unwrap_err().to_string(), "Cannot find device='h' nor node-name='h'");
    let node = on("x", "f").unwrap();
    assert_eq!((node.info().file_node.as_str(), node.size()), ("f", 1024));
    assert_eq!(on("y", "f").unwrap_err(), BlockError::InUse("f".into()));
    assert_eq!(blocks.drive("f").unwrap_err(), BlockError::InUse("f".into()));
    assert_eq!(blocks.remove_node("f"), Err(BlockError::InUse("f".into())));
    drop(node);
    blocks.remove_node("x").unwrap();
    let drive = blocks.drive("f").unwrap();
    assert_eq!(drive.medium().unwrap().info().file_node, "f");
    assert_eq!(blocks.remove_node("f"), Err(BlockError::InUse("f".into())));
    drop(drive);
    blocks.remove_node("f").unwrap();
}

#[test]
fn zeroes_are_found_out() {
    let dir = Dir::new();
    let path = dir.file("a", &[7; 4096]);
    let options = ImageOptions { detect_zeroes: DetectZeroes::Unmap, unmap: true, ..raw(&path) };
    let node = Node::open("n", "file", &options).unwrap();
    node.write(0, &[0; 4096]).unwrap();
    node.write(512, &[1; 512]).unwrap();
    let expected = [vec![0; 512], vec![1; 512], vec![0; 3072]].concat();
    assert_eq!(std::fs::read(&path).unwrap(), expected);
}

#[test]
fn zeroes_in_an_image_smaller_than_a_cluster_leave_the_rest() {
    let dir = Dir::new();
    let path = dir.0.join("small");
    create(&path, Format::Qcow2, 4096).unwrap();
    let below = raw(&dir.file("below", &[0; 4096]));
    let open = [
        ImageOptions::new(&path),
        ImageOptions { unmap: true, ..ImageOptions::new(&path) },
        ImageOptions { snapshot: true, ..below.clone() },
        ImageOptions { snapshot: true, unmap: true, ..below },
    ];
    for options in open {
        let (unmap, node) = (options.unmap, Node::open("n", "file", &options).unwrap());
        node.write(0, &[7; 4096]).unwrap();
        node.write_zeroes(512, 512, unmap).unwrap();
        let mut data = [0; 4096];
        node.read(0, &mut data).unwrap();
        assert_eq!(data.map(|b| b == 7), std::array::from_fn(|n| !(512..1024).contains(&n)));
    }
}

#[test]
fn what_a_device_leaves_can_be_removed() {
    let (blocks, dir) = (Blocks::default(), Dir::new());
    let path = dir.file("a", &[0; 512]);
    for _ in 0..20 {
        blocks.add_node("n", &raw(&path)).unwrap();
        let drive = blocks.drive("n").unwrap();
        assert_eq!(blocks.remove_node("n"), Err(BlockError::InUse("n".to_owned())));
        blocks.device_gone(&drive);
        assert_eq!((blocks.remove_node("n"), drive.medium().is_none()), (Ok(()), true));
    }
}

#[test]
fn a_file_goes_with_the_node_that_named_it() {
    let (blocks, dir) = (Blocks::default(), Dir::new());
    let options = raw(&dir.file("a", &[0; 512]));
    blocks.add_node_with_file("n", &options, ("below", &options)).unwrap();
    assert_eq!(blocks.remove_node("below"), Err(BlockError::NotOwned("below".to_owned())));
    blocks.remove_node("n").unwrap();
    assert_eq!(blocks.remove_node("below"), Err(BlockError::NoNode("below".to_owned())));
    assert!(blocks.add_node_with_file("n", &raw(&dir.0.join("none")), ("below", &options)).is_err());
    assert!(blocks.files().is_empty());
}
