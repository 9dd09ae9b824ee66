//! Drives and images as they are (QAPI `block-core.json`).

use crate::qmp::qapi::{qapi_enum, qapi_struct};
use crate::qmp::types::blockdev::BlockdevDetectZeroesOptions;
use serde_json::Value;

qapi_enum! {
    /// How the last request went.
    enum BlockDeviceIoStatus {
        /// Well.
        Ok = "ok",
        /// The host refused it.
        Failed = "failed",
        /// The host had no space left.
        Nospace = "nospace",
    }

    /// Whether a new medium is written to.
    enum BlockdevChangeReadOnlyMode {
        /// As the one before.
        Retain = "retain",
        /// It is not.
        ReadOnly = "read-only",
        /// It is.
        ReadWrite = "read-write",
    }
}

qapi_struct! {
    /// What the host caches.
    struct BlockdevCacheInfo {
        /// Writes are done before they are on stable storage.
        writeback: bool,
        /// The page cache is not used.
        direct: bool,
        /// Flushes are not passed on.
        no_flush = "no-flush": bool,
    }

    /// An image file.
    struct ImageInfo {
        /// Its path.
        filename: String,
        /// Its format.
        format: String,
        /// Bytes that it has for the guest.
        virtual_size = "virtual-size": i64,
        /// Bytes that it takes on the host.
        actual_size = "actual-size": Option<i64>,
        /// The file that it refers to, as it is written in it.
        backing_filename = "backing-filename": Option<String>,
        /// Where that is.
        full_backing_filename = "full-backing-filename": Option<String>,
        /// The format of that.
        backing_filename_format = "backing-filename-format": Option<String>,
    }

    /// An image that is open.
    struct BlockDeviceInfo {
        /// Its path.
        file: String,
        /// Its name.
        node_name = "node-name": Option<String>,
        /// It is not written to.
        ro: bool,
        /// What it is.
        drv: String,
        /// The file that it refers to.
        backing_file: Option<String>,
        /// How many files that goes on for.
        backing_file_depth: i64,
        /// It is encrypted.
        encrypted: bool,
        /// What becomes of writes of zeroes.
        detect_zeroes: BlockdevDetectZeroesOptions,
        /// Most bytes a second; 0 for no limit, as for all of these.
        bps: i64,
        /// Of reads.
        bps_rd: i64,
        /// Of writes.
        bps_wr: i64,
        /// Most requests a second.
        iops: i64,
        /// Of reads.
        iops_rd: i64,
        /// Of writes.
        iops_wr: i64,
        /// The image.
        image: ImageInfo,
        /// What the host caches.
        cache: BlockdevCacheInfo,
        /// Where a write is told of; 0 for nowhere.
        write_threshold: i64,
    }

    /// A drive.
    struct BlockInfo {
        /// Its name.
        device: String,
        /// The device that has it.
        qdev: Option<String>,
        /// Always "unknown".
        ty = "type": String,
        /// Its medium can be changed.
        removable: bool,
        /// The guest has locked it.
        locked: bool,
        /// The tray, where there is one.
        tray_open: Option<bool>,
        /// How the last request went, where the machine stops when it fails.
        io_status = "io-status": Option<BlockDeviceIoStatus>,
        /// The medium.
        inserted: Option<BlockDeviceInfo>,
    }

    /// What has been done, in numbers.
    struct BlockDeviceStats {
        /// Bytes that were read.
        rd_bytes: i64,
        /// Bytes that were written.
        wr_bytes: i64,
        /// Bytes that were discarded.
        unmap_bytes: i64,
        /// Reads.
        rd_operations: i64,
        /// Writes.
        wr_operations: i64,
        /// Flushes.
        flush_operations: i64,
        /// Discards.
        unmap_operations: i64,
        /// How long reads took, in ns.
        rd_total_time_ns: i64,
        /// How long writes took.
        wr_total_time_ns: i64,
        /// How long flushes took.
        flush_total_time_ns: i64,
        /// How long discards took.
        unmap_total_time_ns: i64,
        /// Where the write that reached farthest ended.
        wr_highest_offset: i64,
        /// Reads that were joined.
        rd_merged: i64,
        /// Writes that were joined.
        wr_merged: i64,
        /// Discards that were joined.
        unmap_merged: i64,
        /// How long ago the last one was, in ns.
        idle_time_ns: Option<i64>,
        /// Reads that the host refused.
        failed_rd_operations: i64,
        /// Writes that the host refused.
        failed_wr_operations: i64,
        /// Flushes that the host refused.
        failed_flush_operations: i64,
        /// Discards that the host refused.
        failed_unmap_operations: i64,
        /// Reads that make no sense.
        invalid_rd_operations: i64,
        /// Writes that make no sense.
        invalid_wr_operations: i64,
        /// Flushes that make no sense.
        invalid_flush_operations: i64,
        /// Discards that make no sense.
        invalid_unmap_operations: i64,
        /// Those count for the time of the last one.
        account_invalid: bool,
        /// Those that the host refused do.
        account_failed: bool,
        /// Numbers by intervals of time. There are none.
        timed_stats: Vec<Value>,
    }

    /// What a drive or an image has done.
    struct BlockStats {
        /// The drive.
        device: Option<String>,
        /// The device that has it.
        qdev: Option<String>,
        /// The image.
        node_name = "node-name": Option<String>,
        /// The numbers.
        stats: BlockDeviceStats,
    }
}
