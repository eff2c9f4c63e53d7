//! Built-in filter groups (docs/guide/filters.md): what is rarely worth a backup, per system.

/// The system whose group patterns are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum System {
    /// Linux and other systems that are not named here.
    Linux,
    /// macOS.
    MacOs,
    /// Windows; patterns are given with `\`.
    Windows,
}

impl System {
    /// The system this program was built for.
    pub const CURRENT: System = if cfg!(windows) {
        System::Windows
    } else if cfg!(target_os = "macos") {
        System::MacOs
    } else {
        System::Linux
    };
}

/// Folders that group patterns refer to. The caller knows the environment; this crate does not
/// read it. A pattern whose folder is not known is left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Places {
    /// The folder for temporary files.
    pub temp_folder: Option<String>,
    /// The folder with this program's own data.
    pub data_folder: Option<String>,
    /// The folder for caches of the user (`XDG_CACHE_HOME`).
    pub cache_home: Option<String>,
    /// Folders of Windows by the names used in the table, e.g. `("Windows", r"C:\Windows")`.
    pub windows: Vec<(String, String)>,
}

impl Default for Places {
    /// Only the usual folder for temporary files.
    fn default() -> Self {
        Places {
            temp_folder: Some("/tmp".to_owned()),
            data_folder: None,
            cache_home: None,
            windows: Vec::new(),
        }
    }
}

impl Places {
    fn find(&self, name: &str) -> Option<&str> {
        match name {
            "Temp" => self.temp_folder.as_deref(),
            "Data" => self.data_folder.as_deref(),
            "CacheHome" => self.cache_home.as_deref(),
            _ => self
                .windows
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, path)| path.as_str()),
        }
    }
}

/// All groups: the name, then its aliases.
pub fn group_names() -> &'static [&'static [&'static str]] {
    &NAMES
}

/// The patterns of a group, or `None` if there is no group of this name (case does not matter).
/// `None` and `DefaultIncludes` are groups without patterns.
pub fn group_patterns(name: &str, system: System, places: &Places) -> Option<Vec<String>> {
    let names = NAMES
        .iter()
        .find(|names| names.iter().any(|known| known.eq_ignore_ascii_case(name)))?;
    let parts: Vec<&Group> = match *names.first()? {
        "None" | "DefaultIncludes" => Vec::new(),
        "DefaultExcludes" => GROUPS.iter().collect(),
        one => GROUPS.iter().filter(|group| group.name == one).collect(),
    };
    let mut patterns = Vec::new();
    for group in parts {
        let own = match system {
            System::Linux => group.linux,
            System::MacOs => group.mac_os,
            System::Windows => group.windows,
        };
        for pattern in group.everywhere.iter().chain(own) {
            if let Some(text) = with_places(pattern, places) {
                let text = if system == System::Windows {
                    text.replace('/', "\\")
                } else {
                    text
                };
                if !patterns.contains(&text) {
                    patterns.push(text);
                }
            }
        }
    }
    Some(patterns)
}

/// Puts the folder for a leading `<Name>`; a folder gets its separator.
fn with_places(pattern: &str, places: &Places) -> Option<String> {
    let Some((name, rest)) = pattern
        .strip_prefix('<')
        .and_then(|text| text.split_once('>'))
    else {
        return Some(pattern.to_owned());
    };
    let folder = places.find(name)?.trim_end_matches(['/', '\\']);
    if folder.is_empty() {
        return None;
    }
    Some(if rest.is_empty() {
        format!("{folder}/")
    } else {
        format!("{folder}{rest}")
    })
}

struct Group {
    name: &'static str,
    everywhere: &'static [&'static str],
    linux: &'static [&'static str],
    mac_os: &'static [&'static str],
    windows: &'static [&'static str],
}

const NAMES: [&[&str]; 8] = [
    &["SystemFiles", "System", "Sys"],
    &["OperatingSystem", "OS"],
    &["CacheFiles", "CacheFolders", "Caches", "Cache"],
    &[
        "TemporaryFiles",
        "TemporaryFolders",
        "TempFolders",
        "TempFiles",
        "Temp",
        "Tmp",
    ],
    &["Applications", "Application", "Apps", "App"],
    &[
        "DefaultExcludes",
        "DefaultExclude",
        "Excludes",
        "Exclude",
        "Exc",
    ],
    &[
        "DefaultIncludes",
        "DefaultInclude",
        "Includes",
        "Include",
        "Inc",
    ],
    &["None"],
];

const GROUPS: [Group; 5] = [
    Group {
        name: "SystemFiles",
        everywhere: &[],
        linux: &["/dev/", "/proc/", "/selinux/", "/sys/"],
        mac_os: &[
            "/.vol/",
            "/dev/",
            "/net/",
            "/afs/",
            "/automount/",
            "/cores/",
            "/Network/",
            "*.fseventsd",
            "*.dbfseventsd",
            "/private/Network/",
            "/private/var/automount/",
            "/private/var/db/dhcpclient/",
            "/private/var/db/fseventsd/",
            "/private/var/folders/",
            "/private/var/run/",
            "/private/var/spool/postfix/",
            "/private/var/vm/",
        ],
        windows: &[
            "*/I386*",
            "*/Internet Explorer/",
            "*/Microsoft*/RecoveryStore*",
            "*/Microsoft*/Windows/*.edb",
            "*/Microsoft*/Windows/*.log",
            "*/Microsoft*/Windows/Cookies*",
            "*/MSOCache*",
            "*/NTUSER*",
            "*/UsrClass.dat",
            "?:/hiberfil.sys",
            "?:/pagefile.sys",
            "?:/swapfile.sys",
            "?:/$Recycle.Bin/",
            "?:/Recycled/",
            "?:/Recycler/",
            "?:/System Volume Information/",
            "*/DfsrPrivate/",
            "<Windows>/Installer/",
        ],
    },
    Group {
        name: "OperatingSystem",
        everywhere: &[],
        linux: &["/bin/", "/boot/", "/etc/", "/initrd/", "/sbin/", "/var/"],
        mac_os: &[
            "/Previous Systems*",
            "/mach.sym",
            "/mach_kernel",
            "/bin/",
            "/sbin/",
            "*/Library/Logs/",
            "/Network/",
            "/System/",
            "/Volumes/",
        ],
        windows: &[
            "?:/Config.Msi*",
            "*/Recent/",
            "?:/autoexec.bat",
            "<System>",
            "<SystemX86>",
            "<Recent>",
            "<Windows>",
            "<Windows>.old/",
        ],
    },
    Group {
        name: "CacheFiles",
        everywhere: &[
            "<Data>/control_dir_v2/",
            "*/Google/Chrome/*cache*",
            "*/Google/Chrome/*LOCK*",
            "*/Google/Chrome/*Current*",
            "*/Google/Chrome/Safe Browsing*",
            "*/iPhoto Library/iPod Photo Cache/",
            "*/Mozilla/Firefox/*cache*",
            "*/cookies.sqlite-*",
            "*/permissions.sqlite-*",
        ],
        linux: &[
            "<CacheHome>",
            "*/.cache/",
            "*/.config/google-chrome/Default/Cookies",
            "*/.config/google-chrome/Default/Cookies-journal",
        ],
        mac_os: &[
            "*/Library/Caches/",
            "*/Application Support/Google/Chrome/Default/Cookies",
            "*/Application Support/Google/Chrome/Default/Cookies-journal",
            "*/Library/Calendars/*/Info.plist",
            "*/Library/Calendars/Calendar Cache",
            "*/Library/Cookies/com.apple.appstore.plist",
            "*/Library/Cookies/Cookies.binarycookies",
            "*/backups.backupdb/",
            "*/iP* Software Updates/",
            "*/iPhoto Library/iPod Photo Cache*",
            "*/iTunes/Album Artwork/Cache/",
            "*/Library/Application Support/SyncServices/",
            "*/Library/Mail/*/Info.plist",
            "*/Library/Mail/AvailableFeeds/",
            "*/Library/Mail/Envelope Index",
            "*/Library/Mirrors/",
            "*/Library/PubSub/Database/",
            "*/Library/PubSub/Downloads/",
            "*/Library/PubSub/Feeds/",
            "*/Library/Safari/HistoryIndex.sk",
            "*/Library/Safari/Icons.db",
            "*/Library/Safari/WebpageIcons.db",
            "*/Library/Saved Application State/",
            "/System/Library/Extensions/Caches/",
            "*MobileBackups/",
            "*.hotfiles.btree*",
            "*.Spotlight-*/",
            "/Desktop DB",
            "/Desktop DF",
        ],
        windows: &[
            "*/AppData/Local/AMD/DxCache/",
            "*/AppData/Local/Apple Computer/Mobile Sync/",
            "*/AppData/Local/Comms/UnistoreDB/",
            "*/AppData/Local/ElevatedDiagnostics/",
            "*/AppData/Local/Packages/",
            "*/AppData/Local/Microsoft/Windows/Explorer/",
            "*/AppData/Local/Microsoft/Windows/INetCache/",
            "*/AppData/Local/Microsoft/Windows/UPPS/",
            "*/AppData/Local/Microsoft/Windows Store/",
            "*/AppData/Local/Microsoft/Windows/WebCache*",
            "*/AppData/Local/Microsoft/VSCommon/*SQM*",
            "*/AppData/Local/Microsoft/Edge/User Data/Default/Cache",
            "*/Application Data/Apple Computer/Mobile Sync/",
            "*/Application Data/Application Data*",
            "*/Dropbox/Dropbox.exe.log",
            "*/Dropbox/QuitReports/",
            "*/Google/Chrome/User Data/Default/Cache",
            "*/Google/Chrome/User Data/Default/Cookies",
            "*/Google/Chrome/User Data/Default/Cookies-journal",
            "*/Local Settings/History/",
            "*/OneDrive/.849C9593-D756-4E56-8D6E-42412F2A707B",
            "*/Safari/Library/Caches/",
            "*/Temporary Internet Files/",
            "*/Thumbs.db",
            "<History>",
            "<InternetCache>",
            "<Cookies>",
        ],
    },
    Group {
        name: "TemporaryFiles",
        everywhere: &["<Temp>"],
        linux: &["*/lost+found/", "*~", "/tmp/"],
        mac_os: &[
            "/private/tmp/",
            "/private/var/tmp/",
            "*/Microsoft User Data/Entourage Temp/",
            "/tmp/",
            "/var/",
            "*.Trash*",
            "*/Network Trash Folder/",
            "*/Trash/",
            "*/lost+found/",
            "*/VM Storage",
        ],
        windows: &[
            "*.tmp",
            "*.tmp/",
            "*/AppData/Local/Temp*",
            "*/AppData/Temp*",
            "*/Local Settings/Temp*",
            "<Windows>/Temp/",
        ],
    },
    Group {
        name: "Applications",
        everywhere: &[],
        linux: &["/lib/", "/lib64/", "/opt/", "/usr/"],
        mac_os: &["/Applications/", "/Library/", "/usr/", "/opt/"],
        windows: &[
            "<Program Files>",
            "<Program Files (x86)>",
            "<Common Files>",
            "<Common Files (x86)>",
            "<Admin Tools>",
            "<Common Admin Tools>",
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases_lead_to_patterns() {
        let places = Places::default();
        let find = |name: &str| group_patterns(name, System::Linux, &places);
        assert_eq!(find("OS"), find("operatingsystem"));
        assert_eq!(find("none"), Some(Vec::new()));
        assert_eq!(find("Inc"), Some(Vec::new()));
        assert_eq!(find("nonsense"), None);
        assert_eq!(
            find("tmp"),
            Some(["/tmp/", "*/lost+found/", "*~"].map(str::to_owned).to_vec())
        );
        assert!(
            find("exc").is_some_and(
                |all| all.contains(&"/usr/".to_owned()) && all.contains(&"*~".to_owned())
            )
        );
        for group in &GROUPS {
            assert!(
                NAMES.iter().any(|names| names.first() == Some(&group.name)),
                "{}",
                group.name
            );
        }
    }

    #[test]
    fn folders_of_the_user_are_put_in() {
        let places = Places {
            temp_folder: Some("/scratch/".to_owned()),
            data_folder: Some("/home/a/.larder".to_owned()),
            cache_home: Some("/home/a/cache".to_owned()),
            windows: vec![("Windows".to_owned(), r"C:\Windows".to_owned())],
        };
        let cache = group_patterns("Cache", System::Linux, &places).unwrap_or_default();
        assert!(cache.contains(&"/home/a/cache/".to_owned()));
        assert!(cache.contains(&"/home/a/.larder/control_dir_v2/".to_owned()));
        let windows = group_patterns("OS", System::Windows, &places).unwrap_or_default();
        assert_eq!(
            windows,
            [
                r"?:\Config.Msi*",
                r"*\Recent\",
                r"?:\autoexec.bat",
                r"C:\Windows\",
                r"C:\Windows.old\"
            ]
        );
    }
}
