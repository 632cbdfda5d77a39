//! Objects of the kernel's slab allocator: which cache a page belongs to, and which field an address is.

use std::cell::RefCell;
use std::collections::HashMap;

use anyhow::{Context, Result};
use libbpf_rs::btf::types::{Composite, MemberAttr};
use libbpf_rs::btf::Btf;
use libbpf_rs::HasSize;

use super::kernel::Kernel;

/// Finds the cache of a page by the kernel's own descriptors, with offsets from its type information.
pub struct Slabs<'a> {
    kernel: &'a Kernel,
    types: Btf<'static>,
    /// Fields of types that were asked for: looking a type up takes long.
    fields: RefCell<HashMap<String, Vec<(u64, String)>>>,
    descriptors: u64,
    descriptor_bytes: u64,
    cache_offset: u64,
    name_offset: u64,
    size_offset: u64,
}

/// A page of a slab.
pub struct Slab {
    /// The cache's name.
    pub cache: String,
    /// The first page of the slab.
    first_page: u64,
    object_bytes: u64,
}

impl<'a> Slabs<'a> {
    /// The addresses of the descriptors of so many pages.
    pub fn descriptors(&self, nr_pages: u64) -> std::ops::Range<u64> {
        self.descriptors..self.descriptors + nr_pages * self.descriptor_bytes
    }

    /// Reads the kernel's type information.
    pub fn open(kernel: &'a Kernel) -> Result<Self> {
        let types = Btf::from_vmlinux().context("the kernel's type information can't be read")?;
        let (cache_offset, name_offset, size_offset) = (
            offset(&types, "slab", "slab_cache")?,
            offset(&types, "kmem_cache", "name")?,
            offset(&types, "kmem_cache", "size")?,
        );
        let descriptor_bytes = composite(&types, "page")?.size() as u64;
        let descriptors = kernel.variable("vmemmap_base")?;
        Ok(Slabs {
            kernel,
            types,
            fields: RefCell::default(),
            descriptors,
            descriptor_bytes,
            cache_offset,
            name_offset,
            size_offset,
        })
    }

    /// The slab of a page that is flagged as one.
    pub fn slab(&self, page: u64) -> Result<Slab> {
        let first_page = self.first_page(page)?;
        let cache = self.kernel.read_u64(self.descriptor(first_page) + self.cache_offset)?;
        let name = self.kernel.read_u64(cache + self.name_offset)?;
        let mut size = [0; 4];
        self.kernel.read(cache + self.size_offset, &mut size)?;
        let object_bytes = u32::from_le_bytes(size).into();
        Ok(Slab { cache: self.kernel.read_string(name)?, first_page, object_bytes })
    }

    /// The place in an object: `task_struct+0x40 (prio)`; the field is known where cache and type have the same name.
    pub fn place(&self, slab: &Slab, address: u64) -> String {
        let in_slab = address.saturating_sub(slab.first_page * 4096);
        let offset = in_slab % slab.object_bytes.max(1);
        let mut known = self.fields.borrow_mut();
        let fields = known.entry(slab.cache.clone()).or_insert_with(|| fields(&self.types, &slab.cache));
        let field = fields.iter().rfind(|(at, _)| *at <= offset);
        let field = field.map(|(_, name)| format!(" ({name})")).unwrap_or_default();
        format!("{}+{offset:#x}{field}", slab.cache)
    }

    /// The first page of the folio that a page belongs to.
    fn first_page(&self, page: u64) -> Result<u64> {
        // In `struct page`, the word after the flags has bit 0 set in all but the first page of a folio. It is that page's
        // descriptor, or since Linux 7.0 a mask that leaves it of one's own.
        const MASKS: u64 = 0xffff_ffff_0000_0000;
        let own = self.descriptor(page);
        let linked = self.kernel.read_u64(own + 8)?;
        let first = match linked {
            _ if linked & 1 == 0 => own,
            MASKS.. => own & linked,
            _ => linked - 1,
        };
        first.checked_sub(self.descriptors).map(|bytes| bytes / self.descriptor_bytes).context("no descriptor")
    }

    fn descriptor(&self, page: u64) -> u64 {
        self.descriptors + page * self.descriptor_bytes
    }
}

fn composite<'t>(types: &'t Btf, name: &str) -> Result<Composite<'t>> {
    types.type_by_name(name).with_context(|| format!("the kernel has no type {name}"))
}

fn offset(types: &Btf, of: &str, member: &str) -> Result<u64> {
    let composite = composite(types, of)?;
    let found = composite.iter().find(|candidate| candidate.name.is_some_and(|name| name == member));
    found.map(|member| bytes(member.attr)).with_context(|| format!("the kernel's type {of} has no member {member}"))
}

/// The members of a type, in order, with their offsets in bytes. None if there is no such type.
fn fields(types: &Btf, name: &str) -> Vec<(u64, String)> {
    // The names of general caches are no names of types, and looking for one goes through all types.
    if name.contains('-') {
        return Vec::new();
    }
    let Ok(object) = composite(types, name) else { return Vec::new() };
    let named =
        object.iter().filter_map(|member| Some((bytes(member.attr), member.name?.to_string_lossy().into_owned())));
    named.collect()
}

fn bytes(member: MemberAttr) -> u64 {
    let (MemberAttr::Normal { offset } | MemberAttr::BitField { offset, .. }) = member;
    u64::from(offset / 8)
}
