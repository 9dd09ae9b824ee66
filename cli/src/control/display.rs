//! Pictures of what the guest shows: `screendump`.

use super::{Control, Error, Result};
use crate::board::{BoardState, DeviceId};
use crate::qmp::types::ui::ImageFormat;
use gearbox_core::backend::display::Picture;
use std::fs::File;
use std::io::{self, BufWriter, Write};

impl Control {
    /// `screendump`: writes what a display shows, the first one if none is named, to a file.
    ///
    /// # Errors
    /// There is no such display, or the file cannot be written.
    pub fn screendump(
        &self,
        path: &str,
        device: Option<&str>,
        head: Option<i64>,
        format: Option<ImageFormat>,
    ) -> Result<()> {
        if device.is_none() && head.is_some() {
            return Err(Error::generic("'head' must be specified together with 'device'"));
        }
        let picture = self.machine()?.board().with(|s| {
            let display = find(s, device, head.unwrap_or(0))?;
            s.picture(display).ok_or_else(|| Error::generic("no surface"))
        })?;
        let wrong = |e: io::Error| Error::generic(format!("failed to open file '{path}': {e}"));
        let mut file = BufWriter::new(File::create(path).map_err(wrong)?);
        write(&picture, format.unwrap_or(ImageFormat::Ppm), &mut file).and_then(|()| file.flush()).map_err(wrong)
    }
}

/// A display, by the id or path of its device.
fn find(s: &mut BoardState, device: Option<&str>, head: i64) -> Result<DeviceId> {
    let Some(name) = device else {
        let first = s.displays().first().copied();
        return first.ok_or_else(|| Error::generic("There is no console to take a screendump from"));
    };
    let device = s.by_id_or_path(name).ok_or_else(|| Error::device_not_found(name))?;
    if head != 0 || !s.displays().contains(&device) {
        return Err(Error::generic(format!("Device {name} (head {head}) is not bound to a QemuConsole")));
    }
    Ok(device)
}

/// Writes a picture.
fn write(picture: &Picture, format: ImageFormat, to: &mut impl Write) -> io::Result<()> {
    match format {
        ImageFormat::Ppm => {
            write!(to, "P6\n{} {}\n255\n", picture.width, picture.height)?;
            to.write_all(&picture.rgb)
        }
        ImageFormat::Png => {
            let mut encoder = png::Encoder::new(to, picture.width, picture.height);
            encoder.set_color(png::ColorType::Rgb);
            encoder.set_depth(png::BitDepth::Eight);
            let mut writer = encoder.write_header().map_err(io::Error::other)?;
            writer.write_image_data(&picture.rgb).map_err(io::Error::other)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_have_the_same_pixels() {
        let picture = Picture { width: 2, height: 1, rgb: vec![1, 2, 3, 0xfd, 0xfe, 0xff] };
        let bytes = |format| {
            let mut bytes = Vec::new();
            write(&picture, format, &mut bytes).unwrap();
            bytes
        };
        assert_eq!(bytes(ImageFormat::Ppm), b"P6\n2 1\n255\n\x01\x02\x03\xfd\xfe\xff");
        let png = bytes(ImageFormat::Png);
        let mut reader = png::Decoder::new(io::Cursor::new(png)).read_info().unwrap();
        let mut rgb = vec![0; 6];
        let info = reader.next_frame(&mut rgb).unwrap();
        assert_eq!((info.width, info.height, rgb), (2, 1, picture.rgb));
    }
}
