//! Requests, carried out in each way that there is.

use super::*;

/// The ways in which the host can be asked.
fn engines() -> Vec<Aio> {
    let offered = |aio: &Aio| match uring::Ring::open() {
        Err(reason) if *aio == Aio::IoUring => {
            println!("skipped: aio=io_uring: {reason}");
            false
        }
        _ => true,
    };
    Aio::ALL.iter().copied().filter(offered).collect()
}

fn raw(aio: Aio, path: &Path) -> ImageOptions {
    ImageOptions { aio, ..super::raw(path) }
}

/// RAM of a guest from address 0 on.
fn ram(size: u64) -> (Arc<RamBlock>, Arc<AddressSpace>) {
    let ram = RamBlock::new("ram", size).unwrap();
    let mut tree = MemTree::new("m", u64::MAX);
    let region = tree.ram(&ram, 0, size);
    tree.map(tree.root(), 0, region, 0);
    let memory = Arc::new(AddressSpace::new());
    memory.install(tree.render());
    (ram, memory)
}

#[test]
fn requests_are_done_and_reach_the_file() {
    for aio in engines() {
        let dir = Dir::new();
        let path = dir.file("a", &[7; 4096]);
        let blocks = Blocks::default();
        let node = blocks.open(Some("n"), &raw(aio, &path)).unwrap();
        assert!(matches!(blocks.open(Some("n"), &raw(aio, &path)), Err(BlockError::DuplicateNode(_))));
        let u = User::new(drive(&blocks, Some(node), REPORT), Arc::default());
        let c = u.ask(Request::read(1, 512, 1024));
        assert_eq!((c.tag, c.result, c.data), (1, Ok(()), vec![7; 1024]));
        assert_eq!(u.ask(Request::write(2, 1024, vec![9; 512])).result, Ok(()));
        assert_eq!(u.ask(Request::flush(3)).result, Ok(()));
        assert_eq!(u.ask(Request::write_zeroes(4, 2048, 512, false)).result, Ok(()));
        assert_eq!(u.ask(Request::read(5, 3584, 1024)).result, Err(IoError::OutOfRange));
        assert_eq!(u.ask(Request::write(6, u64::MAX - 511, vec![0; 512])).result, Err(IoError::OutOfRange));
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(
            (bytes.len(), bytes[1023], bytes[1024], bytes[2047], bytes[2048], bytes[2560]),
            (4096, 7, 9, 7, 0, 7)
        );
        assert!(u.failures.lock().is_empty(), "the guest's mistakes are not the host's");
        u.drive.drain();
        assert_eq!(u.drive.in_flight(), 0);
    }
}

#[test]
fn guest_memory_is_scattered_and_gathered() {
    for aio in engines() {
        let dir = Dir::new();
        let disk: Vec<u8> = (0..3u32 << 20).map(|n| (n / 512 % 251) as u8).collect();
        let path = dir.file("a", &disk);
        let (ram, memory) = ram(4 << 20);
        let blocks = Blocks::default();
        let node = blocks.open(None, &raw(aio, &path)).unwrap();
        assert_eq!(node.name(), "#block001");
        let u = User::new(drive(&blocks, Some(node), REPORT), memory.clone());
        let segments = vec![
            Segment { addr: 0x1003, len: 512 },
            Segment { addr: 0, len: 0 },
            Segment { addr: 0x10_0000, len: 0x28_0000 - 512 },
        ];
        let c = u.ask(Request::guest(1, Operation::Read, 1024, segments.clone()));
        assert_eq!(c.result, Ok(()));
        let (mut a, mut b) = (vec![0; 512], vec![0; 0x28_0000 - 512]);
        memory.read(0x1003, &mut a).unwrap();
        memory.read(0x10_0000, &mut b).unwrap();
        assert!([a, b].concat() == disk[1024..1024 + 0x28_0000]);
        memory.write(0x1003, &[0xee; 512]).unwrap();
        assert_eq!(u.ask(Request::guest(2, Operation::Write, 0, segments)).result, Ok(()));
        let now = std::fs::read(&path).unwrap();
        assert!(now[..512] == [0xee; 512] && now[512..0x28_0000] == disk[1536..1024 + 0x28_0000]);
        // More ranges than the host takes at a time.
        let crumbs: Vec<_> = (0..1536).map(|n| Segment { addr: 0x2000 + 3 * n, len: 1 }).collect();
        assert_eq!(u.ask(Request::guest(5, Operation::Read, 1536, crumbs.clone())).result, Ok(()));
        assert_eq!(u.ask(Request::guest(6, Operation::Write, 0, crumbs)).result, Ok(()));
        let then = std::fs::read(&path).unwrap();
        assert!(then[..1536] == now[1536..3072] && then[1536..] == now[1536..]);
        assert!(ram.take_dirty(DirtyClient::Migration, 0x2000) && !ram.take_dirty(DirtyClient::Migration, 0x8000));
        let nowhere = vec![Segment { addr: 5 << 20, len: 512 }];
        assert_eq!(u.ask(Request::guest(3, Operation::Read, 0, nowhere)).result, Err(IoError::NotRam));
        let endless = vec![Segment { addr: 0, len: u64::MAX }, Segment { addr: 0, len: u64::MAX }];
        assert_eq!(u.ask(Request::guest(4, Operation::Read, 0, endless)).result, Err(IoError::OutOfRange));
    }
}

#[test]
fn what_has_to_be_looked_at_is_copied_first() {
    for aio in engines() {
        let dir = Dir::new();
        let (zeroes, guessed) = (dir.file("a", &[7; 4096]), dir.file("b", &[7; 4096]));
        let (_, memory) = ram(0x2000);
        let write = |options: &ImageOptions, bytes: &[u8]| {
            let blocks = Blocks::default();
            let u = User::new(drive(&blocks, Some(blocks.open(None, options).unwrap()), REPORT), memory.clone());
            memory.write(0, bytes).unwrap();
            let all = vec![Segment { addr: 0, len: bytes.len() as u64 }];
            u.ask(Request::guest(1, Operation::Write, 0, all)).result
        };
        let detect = ImageOptions { detect_zeroes: DetectZeroes::Unmap, unmap: true, ..raw(aio, &zeroes) };
        assert_eq!(write(&detect, &[0; 4096]), Ok(()));
        assert_eq!(std::fs::read(&zeroes).unwrap(), [0; 4096]);
        assert_eq!(
            write(&ImageOptions { aio, ..ImageOptions::new(&guessed) }, b"QFI\xfb\0\0\0\x03"),
            Err(IoError::ReadOnly)
        );
        assert_eq!(std::fs::read(&guessed).unwrap(), [7; 4096]);
    }
}

#[test]
fn requests_are_counted() {
    for aio in engines() {
        let dir = Dir::new();
        let blocks = Blocks::default();
        let node = blocks.open(None, &raw(aio, &dir.file("a", &[7; 4096]))).unwrap();
        let u = User::new(drive(&blocks, Some(node), REPORT), Arc::new(AddressSpace::new()));
        u.ask(Request::read(0, 0, 1024));
        u.ask(Request::write(0, 512, vec![1; 512]));
        u.ask(Request::read(0, 4096, 512));
        u.ask(Request::flush(0));
        let stats = u.drive.stats();
        let counts = |o: OperationStats| (o.done, o.bytes, o.failed, o.invalid);
        assert_eq!(counts(stats.read), (1, 1024, 0, 1));
        assert_eq!((counts(stats.write), stats.highest_write), ((1, 512, 0, 0), 1024));
        assert_eq!((stats.flush.done, stats.discard), (1, OperationStats::default()));
    }
}

#[test]
fn many_at_a_time_past_the_page_cache_and_through_it() {
    /// Bytes of a request.
    const EACH: u64 = 4096;
    for (aio, name) in engines().into_iter().flat_map(|aio| ["none", "writeback", "writethrough"].map(|n| (aio, n))) {
        let (dir, blocks) = (Dir::new(), Blocks::default());
        let path = dir.file("a", &[0; 64 * EACH as usize]);
        let cache = CacheMode::from_name(name).unwrap();
        let node = match blocks.open(None, &ImageOptions { cache, ..raw(aio, &path) }) {
            Ok(node) => node,
            Err(e) => {
                println!("skipped: cache={name}: {e}");
                continue;
            }
        };
        let (_, memory) = ram(1 << 20);
        for n in 0..64 {
            memory.write(n * EACH, &[n as u8 + 1; EACH as usize]).unwrap();
        }
        let u = User::new(drive(&blocks, Some(node), REPORT), memory.clone());
        let all = |operation, ram: u64| {
            for n in 0..64 {
                // Every other one has two ranges, and one in four is not as the host wants it past the page cache.
                let (addr, half) = (ram + n * EACH, EACH / 2);
                let split = if n % 4 == 1 { half + 8 } else { half };
                let halves = [Segment { addr, len: split }, Segment { addr: addr + split, len: EACH - split }];
                let segments = if n % 2 == 1 { halves.to_vec() } else { vec![Segment { addr, len: EACH }] };
                u.drive.submit(Request::guest(n, operation, n * EACH, segments));
            }
            let mut tags: Vec<_> = (0..64).map(|_| u.wait()).map(|c| (c.tag, c.result)).collect();
            tags.sort_by_key(|(tag, _)| *tag);
            assert_eq!(tags, (0..64).map(|n| (n, Ok(()))).collect::<Vec<_>>(), "{aio:?} {name}");
        };
        all(Operation::Write, 0);
        assert_eq!(u.ask(Request::flush(0)).result, Ok(()));
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.iter().enumerate().all(|(at, b)| u64::from(*b) == at as u64 / EACH + 1), "{aio:?} {name}");
        all(Operation::Read, 64 * EACH);
        let mut back = vec![0; 64 * EACH as usize];
        memory.read(64 * EACH, &mut back).unwrap();
        assert!(back == bytes, "{aio:?} {name}");
    }
}

#[test]
fn who_forgets_requests_does_not_wait_for_the_board() {
    for aio in engines() {
        let (dir, blocks) = (Dir::new(), Blocks::default());
        let node = blocks.open(None, &raw(aio, &dir.file("a", &[7; 4096]))).unwrap();
        let drive = drive(&blocks, Some(node), REPORT);
        let (board, called) = (Arc::new(Mutex::new(())), Arc::new(AtomicUsize::new(0)));
        let (lock, calls) = (board.clone(), called.clone());
        let client = BlockClient {
            device: "user".into(),
            memory: Arc::default(),
            ready: Box::new(move || {
                calls.fetch_add(1, Ordering::Relaxed);
                drop(lock.lock());
            }),
            failed: Box::new(|_| ()),
        };
        drive.attach(client, Media::default()).unwrap();
        let held = board.lock();
        drive.submit(Request::read(1, 0, 512));
        while called.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        // Somebody waits for the board to tell of the first one; those after it are forgotten all the same.
        for n in 0..100 {
            drive.submit(Request::read(n, 0, 512));
        }
        drive.cancel();
        assert!(drive.completed().is_none());
        drop(held);
        drive.drain();
        assert_eq!(drive.in_flight(), 0);
    }
}

#[test]
fn an_image_changes_its_size_between_requests() {
    for aio in engines() {
        let (dir, blocks) = (Dir::new(), Blocks::default());
        let path = dir.file("a", &[7; 8192]);
        let node = blocks.open(None, &ImageOptions { unmap: true, ..raw(aio, &path) }).unwrap();
        let u = User::new(drive(&blocks, Some(node.clone()), REPORT), Arc::default());
        for n in 0..20 {
            u.drive.submit(Request::write(n, 4096, vec![9; 4096]));
            u.drive.submit(Request::discard(n, 0, 4096));
        }
        node.resize(4096).unwrap();
        u.drive.drain();
        assert_eq!(std::fs::read(&path).unwrap(), [0; 4096], "{aio:?}");
        while let Some(c) = u.drive.completed() {
            assert!(c.result.is_ok() || c.result == Err(IoError::OutOfRange), "{aio:?} {:?}", c.result);
        }
        assert_eq!(u.ask(Request::read(1, 4096, 512)).result, Err(IoError::OutOfRange));
    }
}

#[test]
fn io_uring_is_for_raw_images() {
    let dir = Dir::new();
    let path = dir.0.join("a");
    create(&path, Format::Qcow2, 4096).unwrap();
    let told = |options: ImageOptions| Node::open("n", "file", &options).unwrap_err().reason;
    let qcow2 = ImageOptions { aio: Aio::IoUring, ..ImageOptions::new(&path) };
    assert_eq!(told(qcow2), "aio=io_uring is for raw images, not for qcow2; use aio=threads");
    let snapshot = ImageOptions { snapshot: true, ..raw(Aio::IoUring, &path) };
    assert!(told(snapshot).contains("not for temporary overlays"));
}
