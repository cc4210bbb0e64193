# SPDX-License-Identifier: MIT
#
# Manual pages of section 3 from the kernel-doc comments of a header: one per
# function or struct. Their date is that of libwisp(3).
#
#	awk -f pages.awk -v dir=FOLDER libwisp.3 wisp.h

function quote(text)
{
	gsub(/\\/, "\\e", text)
	gsub(/-/, "\\-", text)
	if (text ~ /^[.']/)
		text = "\\&" text
	return text
}

# @name in italics, function() in bold and among what is to be seen too
function marked(text,    out, word)
{
	text = quote(text)
	out = ""
	while (match(text, /@[a-z_]+((\\->|\.)[a-z_]+)?|wisp_[a-z_]+\(\)/)) {
		word = substr(text, RSTART, RLENGTH)
		out = out substr(text, 1, RSTART - 1)
		if (word ~ /^@/) {
			out = out "\\fI" substr(word, 2) "\\fR"
		} else {
			sub(/\(\)/, "", word)
			if (word != name)
				also[word] = 1
			out = out "\\fB" word "\\fR" (word == name ? "()" : "(3)")
		}
		text = substr(text, RSTART + RLENGTH)
	}
	return out text
}

function begin_section(title)
{
	if (section != title)
		print ".SH " title >file
	else if (paragraph)
		print ".PP" >file
	section = title
	paragraph = 0
}

function synopsis(    i)
{
	print ".SH SYNOPSIS" >file
	print ".nf" >file
	print "\\fB#include <wisp.h>\\fR" >file
	print ".PP" >file
	for (i = 1; i <= ncode; i++) {
		gsub(/\t/, "        ", code[i])
		print "\\fB" quote(code[i]) "\\fR" >file
	}
	print ".fi" >file
}

function page(    i, line)
{
	file = dir "/" name ".3"
	section = ""
	paragraph = 0
	split("", also)
	for (i in structs)
		if (!is_struct && prototype ~ "struct " i " ")
			also[i] = 1
	print ".\\\" SPDX-License-Identifier: MIT" >file
	print ".TH " toupper(name) " 3 " date " \"libwisp\" \"Library Functions Manual\"" >file
	print ".SH NAME" >file
	print name " \\- " quote(brief) >file
	synopsis()
	for (i = 1; i <= ndoc; i++) {
		line = doc[i]
		if (line == "") {
			paragraph = section != ""
		} else if (match(line, /^@[a-z_]+: /)) {
			begin_section(is_struct ? "MEMBERS" : "ARGUMENTS")
			print ".TP" >file
			print "\\fI" substr(line, 2, RLENGTH - 3) "\\fR" >file
			print marked(substr(line, RLENGTH + 1)) >file
		} else if (sub(/^Return: /, "", line)) {
			begin_section("RETURN VALUE")
			print marked(line) >file
		} else {
			if (section == "" || paragraph && section != "RETURN VALUE")
				begin_section("DESCRIPTION")
			sub(/^\t+/, "", line)
			print marked(line) >file
		}
	}
	print ".SH SEE ALSO" >file
	for (i in also)
		print ".BR " i " (3)," >file
	print ".BR libwisp (3)," >file
	print ".BR wisp (4)" >file
	close(file)
}

/^\.TH LIBWISP / {
	date = $4
}

/^\/\*\*$/ {
	in_doc = 1
	prototype = ""
	ndoc = ncode = 0
	name = ""
	next
}

in_doc && /^ \*\// {
	in_doc = 0
	in_code = 1
	next
}

in_doc && name == "" {
	is_struct = / \* struct /
	brief = $0
	sub(/^ \* (struct )?[a-z_]+(\(\))? - /, "", brief)
	name = $0
	sub(/^ \* (struct )?/, "", name)
	sub(/[( ].*/, "", name)
	if (is_struct)
		structs[name] = 1
	next
}

in_doc {
	sub(/^ \* ?/, "")
	doc[++ndoc] = $0
	next
}

in_code {
	code[++ncode] = $0
	prototype = prototype $0
	if (is_struct ? /^};/ : /;$/) {
		in_code = 0
		page()
	}
}
