//! `millstream init`: a graph, its cases, a test and `.env.example`, ready to be changed.

use std::path::Path;

use anyhow::{Context, bail};

const FILES: [(&str, &str); 4] = [
    ("graph.yaml", include_str!("../templates/graph.yaml")),
    ("graph.test.yaml", include_str!("../templates/graph.test.yaml")),
    ("test.sh", include_str!("../templates/test.sh")),
    (".env.example", include_str!("../templates/env.example")),
];

/// Writes nothing where one of the files is there already.
pub fn init(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
    let folder = folder.canonicalize()?;
    if let Some((name, _)) = FILES.iter().find(|(name, _)| folder.join(name).exists()) {
        bail!("{} is there already; nothing was written", folder.join(name).display());
    }
    let name = graph_name(&folder);
    for (file, text) in FILES {
        let path = folder.join(file);
        std::fs::write(&path, text.replace("my-agent", &name))
            .with_context(|| format!("{} can't be written", path.display()))?;
        #[cfg(unix)]
        if file.ends_with(".sh") {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        }
    }
    println!("wrote graph.yaml, graph.test.yaml, test.sh and .env.example in {}", folder.display());
    println!("  millstream dev --graph graph.yaml    serves it, and reads it again whenever you save it");
    println!("  millstream chat --path /{name}       talks to it");
    println!("  ./test.sh                            checks it");
    Ok(())
}

/// The folder's name, as far as a graph's name may hold it.
fn graph_name(folder: &Path) -> String {
    let name = folder.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "my-agent".to_owned() } else { name.to_owned() }
}
