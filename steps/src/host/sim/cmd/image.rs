//! `qemu-img` and `cloud-localds`.

use serde_json::json;

use super::super::entity::{Data, Domain, File, Image, Seed};
use super::super::files::{self, NO_ENTRY};
use super::super::state::Draft;
use super::{Call, Reply, option, options};

/// Length of an empty qcow2 file.
const EMPTY_BYTES: u64 = 196_640;

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let Some((verb, rest)) = call.args.split_first() else {
        return Reply::fail(1, "qemu-img: Not enough arguments\n");
    };
    let call = Call {
        args: rest.to_vec(),
        ..call.clone()
    };
    match *verb {
        "create" => create(draft, &call),
        "info" | "check" => info(draft, &call),
        "resize" => resize(draft, &call),
        "convert" => convert(draft, &call),
        "--version" => Ok(Reply::ok("qemu-img version 6.2.0\n")),
        other => Err(format!("Command not found: {other}")),
    }
    .unwrap_or_else(|why| Reply::fail(1, format!("qemu-img: {why}\n")).took(20))
}

type Done = Result<Reply, String>;

fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.get(digits.len()..)? {
        "" => 0,
        "k" | "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn open(draft: &Draft<'_>, call: &Call<'_>, path: &str) -> Result<File, String> {
    let file = files::at(draft, &call.path(draft, path))
        .ok_or_else(|| format!("Could not open '{path}': Could not open '{path}': {NO_ENTRY}"))?;
    if files::readable(draft, &file, call.root) {
        Ok(file)
    } else {
        Err(format!(
            "Could not open '{path}': Could not open '{path}': Permission denied"
        ))
    }
}

/// An image as `qemu-img` sees it; anything else is raw.
fn image_of(file: &File) -> Image {
    let whole = file.image.clone().filter(|image| image.whole);
    whole.unwrap_or(Image {
        format: "raw".to_owned(),
        virtual_bytes: file.data.len(),
        backing: None,
        backing_format: None,
        whole: true,
    })
}

fn put_image(
    draft: &mut Draft<'_>,
    call: &Call<'_>,
    path: &str,
    image: Image,
) -> Result<(), String> {
    let full = call.path(draft, path);
    if let Some(why) = files::refuses(draft, &full, call.root) {
        return Err(format!("{path}: Could not create '{path}': {why}"));
    }
    let old = files::at(draft, &full);
    let owner = old
        .as_ref()
        .map_or_else(|| files::actor(draft, call.root), |old| old.owner.clone());
    let mode = old.map_or(0o644, |old| old.mode);
    let mut file = File::new(b"", mode, &owner);
    file.data = Data::Blob {
        seed: format!("image {}", full.rsplit('/').next().unwrap_or_default()),
        len: EMPTY_BYTES,
        whole: EMPTY_BYTES,
    };
    file.image = Some(image.clone());
    let mut half = file.clone();
    half.data = Data::Text(String::new());
    half.image = Some(Image {
        whole: false,
        ..image
    });
    draft.half_only(|draft| draft.put(&full, &half));
    draft.put(&full, &file);
    Ok(())
}

fn create(draft: &mut Draft<'_>, call: &Call<'_>) -> Done {
    let (flags, operands) = options(&call.args, &["-f", "-b", "-F", "-o"]);
    let format = option(&flags, &["-f"]).unwrap_or("raw");
    let path = operands
        .first()
        .ok_or("create: Expecting image file name")?;
    let backing = option(&flags, &["-b"]);
    let below = match backing {
        Some(base) => Some(image_of(&open(draft, call, base)?)),
        None => None,
    };
    let virtual_bytes = match (operands.get(1), below) {
        (Some(text), _) => size(text).ok_or_else(|| format!("Invalid image size '{text}'"))?,
        (None, Some(base)) => base.virtual_bytes,
        (None, None) => return Err(format!("{path}: Image creation needs a size parameter")),
    };
    let image = Image {
        format: format.to_owned(),
        virtual_bytes,
        backing: backing.map(|base| call.path(draft, base)),
        backing_format: option(&flags, &["-F"]).map(str::to_owned),
        whole: true,
    };
    put_image(draft, call, path, image)?;
    let text = format!(
        "Formatting '{path}', fmt={format} cluster_size=65536 extended_l2=off compression_type=zlib size={virtual_bytes} lazy_refcounts=off refcount_bits=16\n"
    );
    Ok(Reply::ok(text).took(60))
}

/// The running domain that has the file open for writing.
fn in_use(draft: &Draft<'_>, path: &str) -> bool {
    draft.list::<Domain>().iter().any(|(_, domain)| {
        domain.running_since(draft.now_ms()).is_some() && domain.xml.contains(&format!("'{path}'"))
    })
}

fn info(draft: &Draft<'_>, call: &Call<'_>) -> Done {
    let (flags, operands) = options(&call.args, &["-f"]);
    let path = operands
        .first()
        .ok_or("info: Expecting one image file name")?;
    let file = open(draft, call, path)?;
    let shared = flags
        .iter()
        .any(|(flag, _)| matches!(*flag, "-U" | "--force-share"));
    if !shared && in_use(draft, &call.path(draft, path)) {
        return Err(format!(
            "Could not open '{path}': Failed to get shared \"write\" lock\nIs another process using the image [{path}]?"
        ));
    }
    let image = image_of(&file);
    if option(&flags, &["--output"]) != Some("json") {
        return Ok(Reply::ok(format!(
            "image: {path}\nfile format: {}\nvirtual size: {} bytes\n",
            image.format, image.virtual_bytes
        )));
    }
    let mut answer = json!({
        "virtual-size": image.virtual_bytes,
        "filename": path,
        "format": image.format,
        "actual-size": file.data.len().next_multiple_of(4096),
        "dirty-flag": false,
    });
    if let (Some(map), Some(backing)) = (answer.as_object_mut(), &image.backing) {
        map.insert("backing-filename".to_owned(), json!(backing));
        map.insert("full-backing-filename".to_owned(), json!(backing));
        if let Some(format) = &image.backing_format {
            map.insert("backing-filename-format".to_owned(), json!(format));
        }
    }
    if let (Some(map), "qcow2") = (answer.as_object_mut(), image.format.as_str()) {
        map.insert("cluster-size".to_owned(), json!(65536));
    }
    let text = serde_json::to_string_pretty(&answer).unwrap_or_default();
    Ok(Reply::ok(text + "\n").took(15))
}

fn resize(draft: &mut Draft<'_>, call: &Call<'_>) -> Done {
    let (_, operands) = options(&call.args, &["-f"]);
    let [path, text] = operands.as_slice() else {
        return Err("resize: Expecting image file name and size".to_owned());
    };
    let mut file = open(draft, call, path)?;
    let mut image = image_of(&file);
    let wanted = match text.strip_prefix('+') {
        Some(more) => size(more).map(|more| image.virtual_bytes + more),
        None => size(text),
    };
    let wanted = wanted.ok_or_else(|| format!("Invalid image size '{text}'"))?;
    if wanted < image.virtual_bytes {
        return Err("Use the --shrink option to perform a shrink operation.".to_owned());
    }
    let full = call.path(draft, path);
    if !call.root && files::refuses(draft, &full, call.root).is_some() {
        return Err(format!("Could not open '{path}': Permission denied"));
    }
    image.virtual_bytes = wanted;
    file.image = Some(image);
    draft.put(&full, &file);
    Ok(Reply::ok("Image resized.\n").took(30))
}

fn convert(draft: &mut Draft<'_>, call: &Call<'_>) -> Done {
    let (flags, operands) = options(&call.args, &["-f", "-O", "-o"]);
    let [from, to] = operands.as_slice() else {
        return Err("convert: Expecting source and target".to_owned());
    };
    let mut image = image_of(&open(draft, call, from)?);
    option(&flags, &["-O"])
        .unwrap_or("raw")
        .clone_into(&mut image.format);
    (image.backing, image.backing_format) = (None, None);
    put_image(draft, call, to, image)?;
    Ok(Reply::ok("").took(8_000))
}

pub(super) fn localds(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let (flags, operands) = options(
        &call.args,
        &[
            "-N",
            "--network-config",
            "-d",
            "--disk-format",
            "-H",
            "-f",
            "--filesystem",
            "-i",
        ],
    );
    let Some((out, sources)) = operands.split_first() else {
        return Reply::fail(1, "must provide output, userdata\n");
    };
    let read = |path: &str| {
        call.content(draft, path)
            .ok_or_else(|| format!("failed to copy user-data {path}: {NO_ENTRY}\n"))
    };
    let wanted = |path: Option<&&str>| path.map_or(Ok(String::new()), |path| read(path));
    let network = option(&flags, &["-N", "--network-config"])
        .map(read)
        .transpose();
    let (user, meta, network) = match (wanted(sources.first()), wanted(sources.get(1)), network) {
        (Ok(user), Ok(meta), Ok(network)) => (user, meta, network),
        (Err(why), ..) | (_, Err(why), _) | (.., Err(why)) => return Reply::fail(1, why),
    };
    let full = call.path(draft, out);
    if let Some(why) = files::refuses(draft, &full, call.root) {
        return Reply::fail(1, format!("failed to create {out}: {why}\n"));
    }
    let owner = files::actor(draft, call.root);
    let mut file = File::new(b"", 0o644, &owner);
    let print = blake3::hash(format!("{user}\0{meta}\0{network:?}").as_bytes()).to_hex();
    file.data = Data::Blob {
        seed: format!("cidata {print}"),
        len: 374_784,
        whole: 374_784,
    };
    let mut half = file.clone();
    half.data = Data::Text(String::new());
    file.seed = Some(Seed {
        user,
        meta,
        network,
    });
    draft.half_only(|draft| draft.put(&full, &half));
    draft.put(&full, &file);
    Reply::ok("").took(150)
}
