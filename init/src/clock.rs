//! What time it is, as far as a machine without a clock of its own can say: the host's real-time clock, which the kernel read.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use strongroom_wire::{Code, Refusal, Result};

/// The image's own first process. Every file of the image has the time of its inputs, so that this one says since when the
/// image exists.
const OF_THE_IMAGE: &str = "/usr/bin/strongroom-init";

/// That the clock was set: it is later than the image. A guest that does not know the time would judge certificates by 1970.
/// That the host tells the truth is not said by this; the verifier's signed times are the floor of what the enclave believes.
///
/// # Errors
/// `clock-behind` the time is unknown; `io`.
pub fn plausible() -> Result<String> {
    let image = Path::new(OF_THE_IMAGE).metadata().and_then(|file| file.modified());
    let image = image.map_err(|e| Refusal::io(OF_THE_IMAGE, &e))?;
    later_than(image, SystemTime::now())
}

fn later_than(image: SystemTime, now: SystemTime) -> Result<String> {
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if now < image {
        let want = format!("at least {}, when the image's inputs were taken", seconds(image));
        return Err(Refusal::new(Code::ClockBehind, "the guest's clock").got(seconds(now)).want(want));
    }
    Ok(format!("{} seconds since 1970, says the host", seconds(now)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn clock_as_late_as_the_image_accepted_and_one_before_it_refused() {
        let image = UNIX_EPOCH + Duration::from_secs(1_000);
        later_than(image, image).unwrap();
        let before = image - Duration::from_secs(1);
        assert_eq!(later_than(image, before).unwrap_err().code, Code::ClockBehind);
    }
}
