//! TDREPORT, which the TDX module gives a guest through Linux' `/dev/tdx_guest` (`Documentation/virt/coco/tdx-guest.rst`): by a call
//! of the processor's, which the host has no part in.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// Where the kernel shows the TDX module.
pub const DEVICE: &str = "/dev/tdx_guest";
/// Bytes of REPORTDATA (`TDX_REPORTDATA_LEN`).
pub const REPORT_DATA: usize = 64;
/// Bytes of TDREPORT (`TDX_REPORT_LEN`).
pub const REPORT: usize = 1024;

/// `TDX_CMD_GET_REPORT0` of `linux/tdx-guest.h`: `_IOWR('T', 1, struct tdx_report_req)`, with the length of that in it.
const GET_REPORT: libc::c_ulong = 0xc440_5401;

/// `struct tdx_report_req`: REPORTDATA, which is read, and TDREPORT behind it, which is written.
#[derive(Debug, Clone)]
#[repr(C)]
pub struct Request {
    report_data: [u8; REPORT_DATA],
    report: [u8; REPORT],
}

// What the kernel copies in and out is as long as it takes it to be.
const _: () = assert!(size_of::<Request>() == REPORT_DATA + REPORT && size_of::<Request>() == 0x440);

impl Request {
    /// What is asked with.
    pub const fn report_data(&self) -> &[u8; REPORT_DATA] {
        &self.report_data
    }

    /// Answers it.
    pub const fn answer(&mut self, report: [u8; REPORT]) {
        self.report = report;
    }
}

/// Whoever answers requests: the kernel behind a descriptor.
pub trait Device {
    /// Has the request answered.
    ///
    /// # Errors
    /// The system call's.
    fn exchange(&self, request: &mut Request) -> io::Result<()>;
}

impl Device for File {
    fn exchange(&self, request: &mut Request) -> io::Result<()> {
        #[expect(unsafe_code, reason = "an ioctl's argument is a bare address")]
        // SAFETY: the descriptor is open as long as `self` is. The driver behind it reads and writes at the address what its
        // number says, 0x440 bytes, which is all of `*request` (asserted above): it has no padding, any bytes are one, and it is
        // borrowed alone until the call returns, after which the kernel has the address no more. Of a file that is another
        // driver's the number is refused (`ENOTTY`): it is of the TDX driver's, with the length in it.
        let outcome = unsafe { libc::ioctl(self.as_raw_fd(), GET_REPORT, core::ptr::from_mut(request)) };
        if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// TDREPORT with this REPORTDATA.
///
/// # Errors
/// The system call's: `ENOTTY` the file is not [`DEVICE`], `EINVAL` or `EIO` the TDX module refuses.
pub fn report(device: &impl Device, report_data: &[u8; REPORT_DATA]) -> io::Result<[u8; REPORT]> {
    let mut request = Request { report_data: *report_data, report: [0; REPORT] };
    device.exchange(&mut request)?;
    Ok(request.report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    /// Gives what it was asked with as the report's first bytes.
    struct Echo;

    impl Device for Echo {
        fn exchange(&self, request: &mut Request) -> io::Result<()> {
            let mut report = [7; REPORT];
            report[..REPORT_DATA].copy_from_slice(request.report_data());
            request.answer(report);
            Ok(())
        }
    }

    #[test]
    fn request_is_laid_out_and_numbered_as_the_kernel_s_header_says() {
        assert_eq!((offset_of!(Request, report_data), offset_of!(Request, report)), (0, 64));
        // _IOC(_IOC_READ | _IOC_WRITE, 'T', 1, 1088) of asm-generic/ioctl.h.
        let number = 3 << 30 | 1088 << 16 | u64::from(b'T') << 8 | 1;
        assert_eq!(GET_REPORT, number);
    }

    #[test]
    fn report_data_goes_in_and_the_report_comes_back() {
        let report = report(&Echo, &[5; REPORT_DATA]).unwrap();
        assert_eq!((&report[..REPORT_DATA], &report[REPORT_DATA..]), (&[5; 64][..], &[7; 960][..]));
    }

    #[test]
    fn kernel_refuses_the_request_of_a_file_that_is_another_driver_s() {
        let null = File::open("/dev/null").unwrap();
        let refused = report(&null, &[0; REPORT_DATA]).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ENOTTY));
    }
}
