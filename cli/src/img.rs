//! `gearbox img`: images without a machine, as qemu-img has it. What needs more than reading and writing of images is left to that.

use crate::backend::block::{Format, ImageOptions, Node, create};
use crate::control::image_info;
use crate::failure::Failure;
use crate::object::parse_size;
use crate::qmp::types::block::ImageInfo;
use crate::sizes::human_size;
use clap::{Parser, Subcommand};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Makes, shows and converts disk images.
#[derive(Parser)]
#[command(name = "gearbox img", disable_version_flag = true)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes an empty image
    Create {
        /// Its format: raw or qcow2
        #[arg(short, default_value = "raw", value_parser = format)]
        format: Format,
        /// The file
        file: PathBuf,
        /// Its size, in bytes or with a suffix K, M, G, T
        #[arg(value_parser = size)]
        size: u64,
    },
    /// Shows what an image is
    Info {
        /// Its format; found out without
        #[arg(short, value_parser = format)]
        format: Option<Format>,
        /// The file
        file: PathBuf,
    },
    /// Copies an image into a new one of another format
    Convert {
        /// The format of the one that is there; found out without
        #[arg(short, value_parser = format)]
        format: Option<Format>,
        /// The format of the new one
        #[arg(short = 'O', default_value = "raw", value_parser = format)]
        output: Format,
        /// The image that is there
        source: PathBuf,
        /// The new one
        target: PathBuf,
    },
    /// Is not here: qemu-img check does it
    Check {
        /// The file
        file: PathBuf,
    },
}

fn format(name: &str) -> Result<Format, String> {
    Format::from_name(name).ok_or_else(|| "there are raw and qcow2".to_owned())
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text).filter(|n| *n > 0).ok_or_else(|| "is no size, such as 10G".to_owned())
}

/// Does what these arguments say, and returns the exit status.
///
/// # Errors
/// What is wrong with them or the images.
pub(crate) fn run(arguments: &[String]) -> Result<u8, Failure> {
    let words = std::iter::once("gearbox img").chain(arguments.iter().map(String::as_str));
    let options = match Options::try_parse_from(words) {
        Ok(options) => options,
        Err(e) if !e.use_stderr() => {
            let _ = write!(io::stdout(), "{e}");
            return Ok(0);
        }
        Err(e) => return Err(Failure::line(e.to_string().trim_start_matches("error: ").trim_end())),
    };
    match options.command {
        Command::Create { format, file, size } => create(&file, format, size).map_err(Failure::line)?,
        Command::Info { format, file } => {
            let text = info(&file, format)?;
            // Whoever reads may have seen enough.
            let _ = io::stdout().write_all(text.as_bytes());
        }
        Command::Convert { format, output, source, target } => convert((&source, format), (&target, output))?,
        Command::Check { file } => {
            let file = file.display();
            return Err(Failure::line(format!(
                "img check: not here; 'qemu-img check {file}' does it (package qemu-utils)"
            )));
        }
    }
    Ok(0)
}

fn open(file: &Path, format: Option<Format>) -> Result<std::sync::Arc<Node>, Failure> {
    let options = ImageOptions { format, read_only: true, ..ImageOptions::new(file) };
    Node::open("image", "file", &options).map_err(Failure::line)
}

/// What an image is, in the form of `qemu-img info`.
fn info(file: &Path, format: Option<Format>) -> Result<String, Failure> {
    let node = open(file, format)?;
    let image = image_info(node.info(), node.size());
    let mut text = describe(&image);
    if let Some(format) = &image.backing_filename_format {
        text += &format!("backing file format: {format}\n");
    }
    Ok(text)
}

/// An image in QEMU's words, of `qemu-img info` and `info block -v`.
pub(crate) fn describe(image: &ImageInfo) -> String {
    let ImageInfo { filename, format, virtual_size, actual_size, .. } = image;
    let size = human_size(virtual_size.cast_unsigned());
    let on_disk = actual_size.map_or_else(|| "unavailable".to_owned(), |n| human_size(n.cast_unsigned()));
    let mut text = format!(
        "image: {filename}\nfile format: {format}\nvirtual size: {size} ({virtual_size} bytes)\ndisk size: {on_disk}\n"
    );
    if let Some(backing) = &image.backing_filename {
        text += &format!("backing file: {backing}\n");
    }
    text
}

/// Copies an image. What is zero takes no space in the new one.
fn convert((source, format): (&Path, Option<Format>), (target, output): (&Path, Format)) -> Result<(), Failure> {
    /// Bytes that are copied at a time.
    const PIECE: u64 = 1 << 20;
    let from = open(source, format)?;
    if source.canonicalize().ok() == target.canonicalize().ok() {
        return Err(Failure::line(format!("{}: an image is not converted into itself", target.display())));
    }
    create(target, output, from.size()).map_err(Failure::line)?;
    let options = ImageOptions { format: Some(output), ..ImageOptions::new(target) };
    let to = Node::open("new", "new-file", &options).map_err(Failure::line)?;
    let mut buffer = vec![0; PIECE as usize];
    for at in (0..from.size()).step_by(PIECE as usize) {
        let piece = &mut buffer[..PIECE.min(from.size() - at) as usize];
        from.read(at, piece).map_err(|e| Failure::line(format!("{}: {e}", source.display())))?;
        if piece.iter().any(|b| *b != 0) {
            to.write(at, piece).map_err(|e| Failure::line(format!("{}: {e}", target.display())))?;
        }
    }
    to.flush().map_err(|e| Failure::line(format!("{}: {e}", target.display())))
}
