use larder_destination::Operation;

use super::*;

/// Folders and files by parent and name, and what was asked.
#[derive(Default)]
struct Fake {
    folders: Mutex<Vec<(String, String, String)>>,
    files: Mutex<Vec<(String, String, Node)>>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Drive for Fake {
    async fn folders(&self, _: &Call, parent: &str, name: &str) -> Result<Vec<String>> {
        lock(&self.asked).push(format!("folders {parent} {name}"));
        let folders = lock(&self.folders);
        let found = folders.iter().filter(|(p, n, _)| p == parent && n == name);
        Ok(found.map(|(_, _, id)| id.clone()).collect())
    }

    async fn make_folder(&self, _: &Call, parent: &str, name: &str) -> Result<String> {
        lock(&self.asked).push(format!("make {parent} {name}"));
        let id = format!("id-{name}");
        lock(&self.folders).push((parent.into(), name.into(), id.clone()));
        Ok(id)
    }

    async fn files(&self, call: &Call, folder: &str, name: &str) -> Result<Vec<Node>> {
        lock(&self.asked).push(format!("files {folder} {name}"));
        if !lock(&self.folders).iter().any(|(_, _, id)| id == folder) {
            return Err(call.error(ErrorKind::FolderMissing, "no folder"));
        }
        let files = lock(&self.files);
        let found = files.iter().filter(|(f, n, _)| f == folder && n == name);
        Ok(found.map(|(_, _, node)| node.clone()).collect())
    }
}

fn node(id: &str, made: i64) -> Node {
    Node {
        id: id.into(),
        size: Some(1),
        hash: Vec::new(),
        made,
    }
}

fn call() -> Call {
    Call::on("drive", Operation::Get, "f")
}

fn kind<T>(outcome: Result<T>) -> Option<ErrorKind> {
    outcome.err().map(|error| error.kind().clone())
}

impl Tree<Fake> {
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.drive.asked))
    }
}

#[tokio::test]
async fn a_folder_is_made_once_and_remembered() -> Result<()> {
    let tree = Tree::new(Arc::new(Fake::default()), "root", "/a//b/");
    assert_eq!(
        kind(tree.folder(&call()).await),
        Some(ErrorKind::FolderMissing)
    );
    tree.asked();
    let call = call();
    let (one, two) = tokio::join!(tree.make_folder(&call), tree.make_folder(&call));
    assert_eq!((one?, two?), ("id-b".to_owned(), "id-b".to_owned()));
    let asked = tree.asked();
    assert_eq!(
        asked.iter().filter(|line| line.starts_with("make")).count(),
        2,
        "{asked:?}"
    );
    assert_eq!(tree.folder(&call).await?, "id-b");
    assert_eq!(tree.asked(), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn two_folders_of_one_name_are_not_guessed_between() {
    let tree = Tree::new(Arc::new(Fake::default()), "root", "a");
    for id in ["x", "y"] {
        lock(&tree.drive.folders).push(("root".into(), "a".into(), id.into()));
    }
    assert_eq!(kind(tree.folder(&call()).await), Some(ErrorKind::Config));
    assert_eq!(
        kind(tree.make_folder(&call()).await),
        Some(ErrorKind::Config)
    );
}

#[tokio::test]
async fn an_id_that_is_gone_is_looked_up_once_more() -> Result<()> {
    let tree = Tree::new(Arc::new(Fake::default()), "root", "a");
    tree.make_folder(&call()).await?;
    lock(&tree.drive.files).push(("id-a".into(), "f".into(), node("new", 2)));
    lock(&tree.drive.files).push(("id-a".into(), "f".into(), node("newer", 3)));
    tree.note("f", node("old", 1));
    let get = |nodes: Vec<Node>| async move {
        match nodes.first() {
            Some(node) if node.id != "old" => Ok(node.id.clone()),
            _ => Err(call().error(ErrorKind::NotFound, "gone")),
        }
    };
    tree.asked();
    assert_eq!(tree.with_files(&call(), "f", get).await?, "newer");
    assert_eq!(tree.asked(), ["files id-a f"]);
    // It is known now.
    assert_eq!(tree.with_files(&call(), "f", get).await?, "newer");
    assert_eq!(tree.asked(), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn files_that_there_is_no_room_for_are_asked_for_as_a_whole() -> Result<()> {
    let tree = Tree::new(Arc::new(Fake::default()), "root", "a");
    tree.make_folder(&call()).await?;
    let newest = |nodes: Vec<Node>| async move { Ok(nodes.first().map(|node| node.id.clone())) };
    for (id, made) in [("old", 1), ("new", 2)] {
        lock(&tree.drive.files).push(("id-a".into(), "f".into(), node(id, made)));
    }
    // The listing of a folder with much in it shows one file of the name before the memory is full, and one after.
    tree.note("f", node("old", 1));
    tree.note("theirs", node(&"x".repeat(memo::MOST_BYTES - 500), 1));
    tree.note("also theirs", node(&"x".repeat(500), 1));
    tree.note("f", node(&format!("new{}", " ".repeat(500)), 2));
    tree.asked();
    assert_eq!(
        tree.with_files(&call(), "f", newest).await?.as_deref(),
        Some("new")
    );
    assert_eq!(tree.asked(), ["files id-a f"]);
    Ok(())
}

#[tokio::test]
async fn a_missing_file_and_a_missing_folder_are_told_apart() -> Result<()> {
    let tree = Tree::new(Arc::new(Fake::default()), "root", "a");
    tree.make_folder(&call()).await?;
    let work = |_: Vec<Node>| async { Ok(()) };
    assert_eq!(
        kind(tree.with_files(&call(), "f", work).await),
        Some(ErrorKind::NotFound)
    );
    lock(&tree.drive.folders).clear();
    assert_eq!(
        kind(tree.with_files(&call(), "f", work).await),
        Some(ErrorKind::FolderMissing)
    );
    // Known from before, and gone together with its folder.
    tree.note("f", node("old", 1));
    let gone = |_: Vec<Node>| async { Err::<(), _>(call().error(ErrorKind::NotFound, "gone")) };
    assert_eq!(
        kind(tree.with_files(&call(), "f", gone).await),
        Some(ErrorKind::FolderMissing)
    );
    Ok(())
}
