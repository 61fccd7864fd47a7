//! What a clone with the source's kernel boots by is made on the target, between the fix-ups and
//! the check. Knows nothing of how.

use super::Run;
use super::fixups::Agreed;
use crate::exclude::profile::KernelPolicy;
use crate::failure::Failure;
use crate::loader::LoaderOrder;
use crate::session::Session;
use crate::settings::Manner;

impl Run<'_> {
    /// Returns the release of the source's kernel, where the clone is to boot it.
    pub(super) fn booted_kernel<'a>(&self, agreed: &'a Agreed) -> Option<&'a str> {
        let policies = self.settings.system.as_ref()?.policies;
        let source = &agreed.system.as_ref()?.source;
        let running = source.kernels.running.as_deref();
        running.filter(|_| policies.kernel == KernelPolicy::Source)
    }

    /// Has initramfs images and menu made, where the clone boots the source's kernel.
    pub(super) fn make_loader(&self, session: &Session, agreed: &Agreed) -> Result<(), Failure> {
        let settings = self.settings;
        let Some(kernel) = self.booted_kernel(agreed) else {
            return Ok(());
        };
        if settings.manner != Manner::Staged || settings.dry_run {
            return Ok(());
        }
        self.notice(&format!(
            "target: making the initramfs of Linux {kernel}, and GRUB's menu"
        ));
        let report = session.make_loader(LoaderOrder {
            root: settings.target_dir.clone(),
            kernel: kernel.to_owned(),
            is_watched: settings.course.confirm_within.is_some(),
        })?;
        let fallback = &report.fallback;
        self.notice(&match report.is_tried {
            true => {
                format!("target: it boots Linux {kernel}, and {fallback} if that does not come up")
            }
            false => format!("target: it boots Linux {kernel}; {fallback} is in GRUB's menu"),
        });
        Ok(())
    }
}
