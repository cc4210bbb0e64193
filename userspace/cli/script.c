// SPDX-License-Identifier: MIT
#include "script.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In what is typed they are not whole, since the terminal echoes that. */
#define BEGIN		"wisp-begin"
#define END		"wisp-end-"
/* What a guest prints beyond these is lost, but a line's last bytes. */
#define LINE_MAX	(1 << 16)
#define LINE_TAIL	64
#define OUTPUT_MAX	(1 << 26)

#define TYPED_BEGIN	"wi''sp-begin"
#define TYPED_END	"wi''sp-end-"
/* Line editors and terminals cut off what is longer, some at 1,023 bytes. */
#define TYPED_WIDTH	120

/*
 * Behind a line editor, to which other characters than these are commands or what to
 * complete, and in a string for printf %b: the rest goes as octal numbers.
 */
static void type_escaped(FILE *text, const char *command)
{
	int width = 0;

	for (; *command; command++) {
		unsigned char c = (unsigned char)*command;

		if (c == ' ' || (isascii(c) && isalnum(c)))
			width += fprintf(text, "%c", c);
		else
			width += fprintf(text, "\\0%03o", c);
		if (width < TYPED_WIDTH)
			continue;
		fprintf(text, "'\\\n'");
		width = 0;
	}
}

void script_free(struct script *script)
{
	free(script->text);
	script->text = NULL;
	file_free(&script->line);
	file_free(&script->output);
}

int script_init(struct script *script, const char *command)
{
	bool failed;
	FILE *text;
	size_t size;

	*script = (struct script){ 0 };
	text = open_memstream(&script->text, &size);
	if (!text)
		return -ENOMEM;
	/*
	 * The shell reads all of it before it does the first: so nothing is
	 * echoed behind the mark, and the command does not read what follows it.
	 * What the command lacks is an error of eval's alone.
	 */
	fprintf(text, "echo " TYPED_BEGIN "; (eval \"$(printf %%b '");
	type_escaped(text, command);
	fprintf(text, "')\") </dev/null 2>&1; echo " TYPED_END "$?\n");
	failed = ferror(text);
	if (!fclose(text) && !failed)
		return 0;
	script_free(script);
	return -ENOMEM;
}

size_t script_read(struct script *script, uint8_t *data, size_t size)
{
	size_t left = strlen(script->text + script->typed);

	if (size > left)
		size = left;
	memcpy(data, script->text + script->typed, size);
	script->typed += size;
	return size;
}

/* The mark, with the status behind it; NULL: it is not in @line. */
static char *find_end(char *line)
{
	char *end = strstr(line, END);

	while (end && !isdigit((unsigned char)end[strlen(END)]))
		end = strstr(end + 1, END);
	return end;
}

/* @line ends with a zero. The mark may be behind output that ends no line. */
static void take_line(struct script *script, char *line)
{
	char *end = find_end(line);

	if (!script->has_begun) {
		script->has_begun = strstr(line, BEGIN);
		return;
	}
	if (end) {
		*end = 0;
		script->status = atoi(end + strlen(END));
		script->has_ended = true;
	}
	if (end == line)
		return;
	if (script->output.size < OUTPUT_MAX &&
	    !file_append(&script->output, line, strlen(line)))
		file_append(&script->output, "\n", 1);
}

/* The mark is the end of its line, however long that is. */
static void add_to_line(struct script *script, uint8_t byte)
{
	struct file *line = &script->line;
	uint8_t *tail;

	if (line->size < LINE_MAX) {
		file_append(line, &byte, 1);
		return;
	}
	tail = line->data + LINE_MAX - LINE_TAIL;
	memmove(tail, tail + 1, LINE_TAIL - 1);
	tail[LINE_TAIL - 1] = byte;
}

bool script_put(struct script *script, uint8_t byte)
{
	if (byte == '\n') {
		if (!file_append(&script->line, "", 1))
			take_line(script, (char *)script->line.data);
		script->line.size = 0;
	} else if (byte && byte != '\r') {
		add_to_line(script, byte);
	}
	return script->has_ended;
}
