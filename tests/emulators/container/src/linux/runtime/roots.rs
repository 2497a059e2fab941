//! Root file systems and namespaces.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::thread::UnshareFlags;

/// Moves this process into new namespaces.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    #[expect(unsafe_code, reason = "some of the flags would take file descriptors away from other threads")]
    // SAFETY: the table of file descriptors is never among the flags that this program uses.
    let outcome = unsafe { rustix::thread::unshare_unsafe(flags) };
    Ok(outcome?)
}

/// Becomes root of a new user namespace, unless it is root already, to be allowed the other namespaces.
pub(crate) fn own_user_namespace() -> io::Result<()> {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    if user.is_root() {
        return Ok(());
    }
    unshare(UnshareFlags::NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {} 1", user.as_raw()))?;
    fs::write("/proc/self/gid_map", format!("0 {} 1", group.as_raw()))
}

/// Makes all later mounts private to this process.
pub(crate) fn own_mount_namespace() -> io::Result<()> {
    unshare(UnshareFlags::NEWNS)?;
    Ok(mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?)
}

/// Mounts a container's root file system: an overlay of the container's changes over the image, or a copy of the image
/// if the kernel does not allow that.
pub(crate) fn mount_root(snapshot: &Path, bundle: &Path) -> io::Result<PathBuf> {
    let [upper, work, merged, copy] = ["upper", "work", "merged", "rootfs"].map(|name| bundle.join(name));
    fs::create_dir_all(&merged)?;
    if !copy.exists() {
        fs::create_dir_all(&upper)?;
        fs::create_dir_all(&work)?;
        let options =
            format!("lowerdir={},upperdir={},workdir={}", snapshot.display(), upper.display(), work.display());
        if !options.contains([':', '\\', '"']) {
            let options = CString::new(options)?;
            if mount("overlay", &merged, "overlay", MountFlags::empty(), options.as_c_str()).is_ok() {
                return Ok(merged);
            }
        }
        let temporary = bundle.join("rootfs.new");
        let _ = fs::remove_dir_all(&temporary);
        copy_tree(snapshot, &temporary)?;
        fs::rename(&temporary, &copy)?;
    }
    mount_bind(&copy, &merged)?;
    Ok(merged)
}

/// Copies a file or a directory with its content, without devices and sockets.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    let found = from.symlink_metadata()?;
    if found.is_dir() {
        fs::create_dir_all(to)?;
        fs::set_permissions(to, found.permissions())?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy_tree(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else if found.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
    } else if found.is_file() {
        fs::copy(from, to)?;
    }
    Ok(())
}
