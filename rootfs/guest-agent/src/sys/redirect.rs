//! A rule of the kernel: whoever in a control group connects to one address and port is taken to another port of that address.
//! An eBPF program at `connect`, so that nothing listens on the first port, and a server of the room may have it.
//! (https://docs.kernel.org/bpf/ and `struct bpf_sock_addr` of uapi/linux/bpf.h)

use super::{check, syscall};
use std::fs::File;
use std::io;
use std::net::SocketAddrV4;
use std::os::raw::{c_int, c_long};
use std::os::unix::io::{AsRawFd, FromRawFd};

#[cfg(target_arch = "x86_64")]
const SYS_BPF: c_long = 321;
#[cfg(target_arch = "aarch64")]
const SYS_BPF: c_long = 280;
const BPF_PROG_LOAD: c_int = 5;
const BPF_PROG_ATTACH: c_int = 8;
const PROGRAM_OF_SOCKET_ADDRESS: u32 = 18;
const AT_INET4_CONNECT: u32 = 10;
/// Others may attach programs of theirs beside this one.
const ALLOW_MULTI: u32 = 2;

/// Where `struct bpf_sock_addr` has the address and the port that are asked for, both in network order.
const USER_IP4: i16 = 4;
const USER_PORT: i16 = 24;

/// The part of `union bpf_attr` for loading a program, as far as it is used.
#[repr(C)]
struct Load {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_kind: u32,
}

/// The same for attaching one to a control group.
#[repr(C)]
struct Attach {
    group: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// One instruction: eight bits of operation, four and four of registers, an offset, a value.
const fn instruction(operation: u8, to: u8, from: u8, offset: i16, value: u32) -> u64 {
    operation as u64 | (to as u64) << 8 | (from as u64) << 12 | (offset as u16 as u64) << 16 | (value as u64) << 32
}

/// `if (ip == address && port == its port) port = behind; return 1` (1: the connect may go on).
pub fn program(asked: SocketAddrV4, behind: u16) -> [u64; 8] {
    const LOAD_WORD: u8 = 0x61;
    const STORE_WORD: u8 = 0x63;
    const JUMP_UNLESS_EQUAL: u8 = 0x55;
    const MOVE: u8 = 0xB7;
    const EXIT: u8 = 0x95;
    [
        instruction(LOAD_WORD, 2, 1, USER_IP4, 0),
        instruction(JUMP_UNLESS_EQUAL, 2, 0, 4, u32::from_ne_bytes(asked.ip().octets())),
        instruction(LOAD_WORD, 2, 1, USER_PORT, 0),
        instruction(JUMP_UNLESS_EQUAL, 2, 0, 2, u32::from(asked.port().to_be())),
        instruction(MOVE, 2, 0, 0, u32::from(behind.to_be())),
        instruction(STORE_WORD, 1, 2, USER_PORT, 0),
        instruction(MOVE, 0, 0, 0, 1),
        instruction(EXIT, 0, 0, 0, 0),
    ]
}

/// For all that is in this control group, now and later, until the group is removed.
pub fn redirect_connects(group: &File, asked: SocketAddrV4, behind: u16) -> io::Result<()> {
    let instructions = program(asked, behind);
    let license = b"\0";
    let load = Load {
        kind: PROGRAM_OF_SOCKET_ADDRESS,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
        kernel_version: 0,
        flags: 0,
        name: [0; 16],
        interface: 0,
        attach_kind: AT_INET4_CONNECT,
    };
    let loaded = unsafe { syscall(SYS_BPF, BPF_PROG_LOAD, &load as *const Load, std::mem::size_of::<Load>()) };
    let loaded = unsafe { File::from_raw_fd(check(loaded as c_int)?) };
    let attach = Attach {
        group: group.as_raw_fd() as u32,
        program: loaded.as_raw_fd() as u32,
        kind: AT_INET4_CONNECT,
        flags: ALLOW_MULTI,
    };
    let attached = unsafe { syscall(SYS_BPF, BPF_PROG_ATTACH, &attach as *const Attach, std::mem::size_of::<Attach>()) };
    check(attached as c_int).map(|_| ())
}
