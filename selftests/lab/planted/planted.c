// SPDX-License-Identifier: GPL-2.0
/*
 * A module that does wrong when told to, so that the lab can show that it
 * notices. Stands in for wisp.ko in selftests/lab/selftest.
 */
#include <linux/irqflags.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/string.h>

#include <asm/msr.h>

static char *what = "nothing";
module_param(what, charp, 0444);
MODULE_PARM_DESC(what, "nothing, refuse, warn, msr, oops or hang");

static int __init planted_init(void)
{
	if (!strcmp(what, "refuse"))
		return -ENODEV;
	if (!strcmp(what, "warn"))
		WARN(1, "planted");
	if (!strcmp(what, "msr"))
		native_write_msr(MSR_VM_HSAVE_PA, 1, 0); /* not aligned */
	if (!strcmp(what, "oops"))
		WRITE_ONCE(*(int *)8, 0);
	if (!strcmp(what, "hang")) {
		local_irq_disable();
		for (;;)
			cpu_relax();
	}
	return 0;
}

static void __exit planted_exit(void)
{
}

module_init(planted_init);
module_exit(planted_exit);
MODULE_DESCRIPTION("A fault that the lab must notice");
MODULE_LICENSE("GPL");
