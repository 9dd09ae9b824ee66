//! Character back ends (QAPI `char.json`, `sockets.json`).

use crate::qmp::qapi::{Empty, qapi_struct, qapi_union};

qapi_struct! {
    /// A back end, in `query-chardev`.
    struct ChardevInfo {
        /// Its id.
        label: String,
        /// What it is connected to.
        filename: String,
        /// Somebody uses it.
        frontend_open = "frontend-open": bool,
    }

    /// A kind of back end.
    struct ChardevBackendInfo {
        /// Its name.
        name: String,
    }

    /// What `chardev-add` has made.
    struct ChardevReturn {
        /// The path of a new pseudo-terminal.
        pty: Option<String>,
    }

    /// A path of a socket.
    struct UnixSocketAddress {
        /// The path.
        path: String,
    }

    /// An address in the network.
    struct InetSocketAddress {
        /// Name or number of the host.
        host: String,
        /// Number of the port.
        port: String,
    }

    /// The same, as an object of its own.
    struct UnixSocketAddressWrapper {
        /// The path.
        data: UnixSocketAddress,
    }

    /// The same, as an object of its own.
    struct InetSocketAddressWrapper {
        /// The address.
        data: InetSocketAddress,
    }

    /// Output into a file.
    struct ChardevFile {
        /// The file.
        out: String,
        /// What it contains is kept.
        append: Option<bool>,
    }

    /// A device of the host.
    struct ChardevHostdev {
        /// Its path.
        device: String,
    }

    /// A stream socket.
    struct ChardevSocket {
        /// Where.
        addr: SocketAddressLegacy,
        /// Listen there, which is the default.
        server: Option<bool>,
        /// Wait for a client; the default is not to.
        wait: Option<bool>,
        /// As a client, connect again after this many seconds; 0 for never.
        reconnect: Option<i64>,
    }

    /// See [`ChardevFile`].
    struct ChardevFileWrapper {
        /// The file.
        data: ChardevFile,
    }

    /// See [`ChardevHostdev`].
    struct ChardevHostdevWrapper {
        /// The device.
        data: ChardevHostdev,
    }

    /// See [`ChardevSocket`].
    struct ChardevSocketWrapper {
        /// The socket.
        data: ChardevSocket,
    }

    /// A back end without options.
    struct ChardevCommonWrapper {
        /// Nothing.
        data: Empty,
    }
}

qapi_union! {
    /// The address of a socket.
    union SocketAddressLegacy {}
    /// Its kind.
    kind: "type"
    /// Kinds of addresses.
    enum SocketAddressKind("SocketAddressType") {
        /// In the network.
        Inet(InetSocketAddressWrapper) = "inet",
        /// In the file system.
        Unix(UnixSocketAddressWrapper) = "unix",
    }

    /// A back end to be made.
    union ChardevBackend {}
    /// Its kind.
    kind: "type"
    /// Kinds of back ends.
    enum ChardevBackendKind("ChardevBackendKind") {
        /// Output into a file.
        File(ChardevFileWrapper) = "file",
        /// A named pipe, or two.
        Pipe(ChardevHostdevWrapper) = "pipe",
        /// A socket.
        Socket(ChardevSocketWrapper) = "socket",
        /// A pseudo-terminal.
        Pty(ChardevCommonWrapper) = "pty",
        /// Nothing.
        Null(ChardevCommonWrapper) = "null",
    }
}
