//! Where the file of a limit is.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use crate::engine::limiter::OpenError;

/// What a limit is shared by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A name, the same for all processes of this user on this host.
    Name(String),
    /// A file.
    Path(PathBuf),
}

/// The longest name, which file systems can hold with what is put behind it.
const LONGEST_NAME: usize = 200;

impl Place {
    /// The path of its file. The folder of names is made where it is not there.
    pub(super) fn file(&self) -> Result<PathBuf, OpenError> {
        match self {
            Self::Name(name) => {
                check_name(name)?;
                let folder = folder()?;
                make_folder(&folder)?;
                Ok(folder.join(format!("{name}.limit")))
            }
            Self::Path(path) => {
                let path = std::path::absolute(path)
                    .map_err(|error| system("cannot tell where", path, &error))?;
                match path.parent().map(fs::metadata) {
                    Some(Ok(folder)) if folder.is_dir() => {}
                    Some(Err(error)) => {
                        return Err(system("cannot share a limit in", &path, &error));
                    }
                    _ => return refuse(format!("shared={} is in no folder", path.display())),
                }
                // A link is followed here, once: a file that takes the place of another is to be found by
                // all names of it.
                let path = if fs::symlink_metadata(&path).is_ok_and(|file| file.is_symlink()) {
                    fs::canonicalize(&path)
                        .map_err(|error| system("cannot follow the link", &path, &error))?
                } else {
                    path
                };
                if fs::metadata(&path).is_ok_and(|file| file.is_dir()) {
                    return refuse(format!(
                        "shared={} is a folder: give a file in it",
                        path.display()
                    ));
                }
                Ok(path)
            }
        }
    }
}

/// Makes the folder of names anew, if that is where the file was: who empties a file system in memory
/// takes the folder too.
pub(super) fn remake_folder(path: &Path) -> Result<(), OpenError> {
    let folder = folder()?;
    if path.parent() == Some(&folder) {
        make_folder(&folder)?;
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), OpenError> {
    let plain = |it: char| it.is_alphanumeric() || matches!(it, '-' | '_' | '.' | ' ' | '@' | ':');
    if name.is_empty() || name.len() > LONGEST_NAME || name.starts_with('.') {
        return refuse(format!(
            "shared must be a name of 1 to {LONGEST_NAME} bytes that does not begin with a dot, or a \
             path, not {name:?}"
        ));
    }
    match name.chars().find(|it| !plain(*it)) {
        Some(odd) => refuse(format!(
            "shared may have letters, digits, spaces and any of -_.@: in its name, not {odd:?}"
        )),
        None => Ok(()),
    }
}

/// The folder of names: one that does not depend on a process's environment, as jobs of cron and
/// services have another one than terminals.
#[cfg(target_os = "linux")]
#[allow(clippy::unnecessary_wraps)] // it may fail on other systems
fn folder() -> Result<PathBuf, OpenError> {
    let user = rustix::process::geteuid().as_raw();
    let memory = Path::new("/dev/shm");
    let root = if memory.is_dir() {
        memory
    } else {
        Path::new("/tmp")
    };
    Ok(root.join(format!("paceline-{user}")))
}

#[cfg(all(unix, not(target_os = "linux")))]
#[allow(clippy::unnecessary_wraps)] // it may fail on other systems
fn folder() -> Result<PathBuf, OpenError> {
    let user = rustix::process::geteuid().as_raw();
    Ok(Path::new("/tmp").join(format!("paceline-{user}")))
}

#[cfg(windows)]
fn folder() -> Result<PathBuf, OpenError> {
    match std::env::var_os("LOCALAPPDATA") {
        Some(data) => Ok(PathBuf::from(data).join("paceline")),
        None => refuse("shared=... needs LOCALAPPDATA to be set, or a path".to_owned()),
    }
}

#[cfg(unix)]
fn make_folder(folder: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};

    if let Err(error) = fs::DirBuilder::new().mode(0o700).create(folder)
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(system(
            "cannot make the folder of shared limits",
            folder,
            &error,
        ));
    }
    // Not followed: in a folder that everybody can write to, somebody may have put a link there.
    let made = fs::symlink_metadata(folder)
        .map_err(|error| system("cannot look at the folder of shared limits", folder, &error))?;
    if !made.is_dir() || !is_own(&made) || made.mode() & 0o022 != 0 {
        return Err(OpenError::System(format!(
            "{} is to be a folder of this user that nobody else can write to; another one has put \
             something there",
            folder.display()
        )));
    }
    Ok(())
}

#[cfg(not(unix))]
fn make_folder(folder: &Path) -> Result<(), OpenError> {
    fs::create_dir_all(folder)
        .map_err(|error| system("cannot make the folder of shared limits", folder, &error))
}

/// Whether it belongs to the user that this process acts for.
#[cfg(unix)]
pub(super) fn is_own(file: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.uid() == rustix::process::geteuid().as_raw()
}

#[cfg(not(unix))]
pub(super) fn is_own(_file: &Metadata) -> bool {
    true
}

pub(super) fn refuse<T>(message: String) -> Result<T, OpenError> {
    Err(OpenError::Value(message))
}

pub(super) fn system(what: &str, path: &Path, error: &std::io::Error) -> OpenError {
    OpenError::System(format!("{what} {}: {error}", path.display()))
}

/// Refuses file systems that other hosts see too: what one host maps, the others do not see in time.
#[cfg(target_os = "linux")]
pub(super) fn refuse_network(path: &Path, file: &fs::File) -> Result<(), OpenError> {
    // linux/magic.h, and for Lustre, GPFS and CephFS the headers of those.
    const NETWORK: [(u64, &str); 11] = [
        (0x6969, "NFS"),
        (0x517B, "SMB"),
        (0xFF53_4D42, "CIFS"),
        (0xFE53_4D42, "SMB"),
        (0x0102_1997, "9P"),
        (0x00C3_6400, "Ceph"),
        (0x5346_414F, "AFS"),
        (0x7375_7245, "Coda"),
        (0x0BD0_0BD0, "Lustre"),
        (0x4750_4653, "GPFS"),
        (0x6573_5546, "FUSE"),
    ];
    let kind = rustix::fs::fstatfs(file).map_err(|error| {
        let error = std::io::Error::from(error);
        system("cannot tell the file system of", path, &error)
    })?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a number of 32 bits
    let magic = u64::from(kind.f_type as u32);
    match NETWORK.iter().find(|(number, _)| *number == magic) {
        Some((_, name)) => refuse(format!(
            "shared={} is on {name}, which does not show every host the same file at the same time: \
             give a path on a disk of this host, or shared=\"redis://...\" among hosts",
            path.display()
        )),
        None => Ok(()),
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn refuse_network(_path: &Path, _file: &fs::File) -> Result<(), OpenError> {
    Ok(())
}
