// The descriptions of the tools, for the host: the WIT text as a section of the module, with a NUL byte behind it.

__asm__(".section \".custom_section.toolpost:wit\",\"\",@\n"
        ".incbin \"wit/world.wit\"\n"
        ".byte 0\n");
